"""Time and memory of the objective, forward and backward.

    python benchmarks/objective.py --backends torch jax --repeats 7

`keras_vicregl.losses.vicregl_loss` on each backend beside the objective as its
definition reads (`definition.py`, PyTorch) and beside lightly's `VICRegLLoss`
where lightly is installed. Every implementation lives in a process of its own
that stays alive; they are called in turn, once each a round, so that whatever
else the machine does meets all alike. A ratio is the median over rounds of the
definition's time over the implementation's time in the same round. Peak memory
is taken afterwards, in a fresh process for each implementation and case: the
highest resident size during the first call, and during the second, over the
size just before the first. Under `jax` and `tensorflow-xla` the first call
includes compilation, under `tensorflow` tracing; timed calls never do.

Prints a Markdown table. Needs Linux (/proc) and PyTorch.
"""

import argparse
import importlib.util
import os
import statistics
import sys
import time

import numpy as np
from measuring import Worker, peak_of, resident, serve

# Global embeddings as (batch, dimensions) or maps as (batch, sizes, channels),
# and the targets: times faster, and fraction of the definition's memory.
CASES = {
    "global-256": {
        "title": "global, B 256, D 8192",
        "alpha": 1.0,
        "batch": 256,
        "dimensions": 8192,
        "grids": [None, None],
        "speed": 30,
        "memory": 1 / 5,
    },
    "local-64": {
        "title": "local, 2 x 7 x 7 x 512, B 64",
        "alpha": 0.0,
        "batch": 64,
        "channels": 512,
        "grids": [7, 7],
        "speed": 15,
        "memory": 1 / 3,
    },
    "local-256": {
        "title": "local, 2 x 7 x 7 x 512, B 256",
        "alpha": 0.0,
        "batch": 256,
        "channels": 512,
        "grids": [7, 7],
        "speed": 5,
        "memory": 1 / 3,
    },
    "local-2+6": {
        "title": "local, 2 x 7 x 7 and 6 x 3 x 3 x 512, B 32",
        "alpha": 0.0,
        "batch": 32,
        "channels": 512,
        "grids": [7, 7, 3, 3, 3, 3, 3, 3],
        "speed": 20,
        "memory": 1 / 3,
    },
}
OURS = ("torch", "jax", "tensorflow", "tensorflow-xla")


# Inputs


def inputs(case):
    """(embeddings, maps, positions) of a case, NumPy, the same every time."""
    rng = np.random.default_rng(0)
    batch, embeddings, maps, positions = case["batch"], [], [], []
    for grid in case["grids"]:
        if "dimensions" in case:
            shape = (batch, case["dimensions"])
            embeddings.append(rng.standard_normal(shape, np.float32))
        else:
            shape = (batch, grid * grid, case["channels"])
            maps.append(rng.standard_normal(shape, np.float32))
            positions.append(crop_positions(rng, batch, grid))
    return embeddings, maps, positions


def crop_positions(rng, batch, grid, width=500, height=375):
    """Cell centres, in pixels, of random crops of an image, half flipped."""
    center = (np.arange(grid) + 0.5) / grid
    flipped = rng.random((batch, 1)) < 0.5
    size = rng.uniform(100, 300, size=(2, batch, 1))
    left = rng.uniform(0, width - size[0])
    top = rng.uniform(0, height - size[1])
    x = left + size[0] * np.where(flipped, 1 - center, center)
    y = top + size[1] * center
    x = np.broadcast_to(x[:, None, :], (batch, grid, grid))
    y = np.broadcast_to(y[:, :, None], (batch, grid, grid))
    return np.stack([x, y], axis=-1).reshape(batch, -1, 2).astype(np.float32)


# Implementations: each makes, of a case, a function without arguments that
# computes loss and gradients and returns the loss and a gradient's norm


def make_torch(loss_of, tensors):
    """A call of a PyTorch loss of (differentiated tensors)."""
    import torch

    tensors = [torch.from_numpy(t).requires_grad_() for t in tensors]

    def call():
        loss = loss_of(tensors)
        gradients = torch.autograd.grad(loss, tensors)
        return loss.item(), gradients

    return call


def make_definition(case):
    import definition
    import torch

    embeddings, maps, positions = inputs(case)
    positions = [torch.from_numpy(place) for place in positions]

    def loss_of(tensors):
        return definition.vicregl_loss(
            tensors if embeddings else None,
            tensors if maps else None,
            positions,
            alpha=case["alpha"],
        )

    return make_torch(loss_of, embeddings or maps)


def make_lightly(case):
    """Lightly computes both criteria always: the other one is kept tiny."""
    import torch
    from lightly.loss import VICRegLLoss

    criterion = VICRegLLoss(alpha=case["alpha"])
    embeddings, maps, positions = inputs(case)
    grids = [grid or 7 for grid in case["grids"]]
    rng = np.random.default_rng(1)
    batch = case["batch"]
    if not maps:
        positions = [crop_positions(rng, batch, grid) for grid in grids]
    positions = [
        torch.from_numpy(place).reshape(batch, grid, grid, 2)
        for place, grid in zip(positions, grids, strict=True)
    ]

    def tiny(*shape):
        return torch.from_numpy(rng.standard_normal(shape, np.float32))

    def loss_of(tensors):
        views = [
            (
                tensors[view] if embeddings else tiny(batch, 4),
                tensors[view].reshape(batch, grid, grid, -1)
                if maps
                else tiny(batch, grid, grid, 4),
            )
            for view, grid in enumerate(grids)
        ]
        return criterion(
            global_view_features=views[:2],
            global_view_grids=positions[:2],
            local_view_features=views[2:] or None,
            local_view_grids=positions[2:] or None,
        )

    return make_torch(loss_of, embeddings or maps)


def make_ours(case, name):
    """The library's loss on the backend that KERAS_BACKEND has chosen."""
    from keras_vicregl.losses import vicregl_loss

    embeddings, maps, positions = inputs(case)

    def loss_of(tensors, positions):
        return vicregl_loss(
            tensors if embeddings else None,
            tensors if maps else None,
            positions or None,
            alpha=case["alpha"],
        )["loss"]

    if name == "torch":
        import torch

        positions = [torch.from_numpy(place) for place in positions]
        return make_torch(
            lambda tensors: loss_of(tensors, positions), embeddings or maps
        )
    if name == "jax":
        import jax

        step = jax.jit(jax.value_and_grad(loss_of))
        tensors = jax.device_put((embeddings or maps, positions))

        def call():
            loss, gradients = jax.block_until_ready(step(*tensors))
            return float(loss), gradients

        return call

    import tensorflow as tf

    tensors = [tf.convert_to_tensor(t) for t in embeddings or maps]
    positions = [tf.convert_to_tensor(place) for place in positions]

    @tf.function(jit_compile=name == "tensorflow-xla", autograph=False)
    def step(tensors, positions):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            loss = loss_of(tensors, positions)
        return loss, tape.gradient(loss, tensors)

    def call():
        loss, gradients = step(tensors, positions)
        return float(loss), gradients

    return call


def make(implementation, case):
    if implementation == "definition":
        return make_definition(case)
    if implementation == "lightly":
        return make_lightly(case)
    return make_ours(case, implementation)


# Worker: answers one JSON line to each command


def work(implementation):
    """Serves commands on standard input until it closes."""
    call = None

    def answer_to(command):
        nonlocal call
        if command["do"] == "time":
            start = time.perf_counter()
            call()
            return {"seconds": time.perf_counter() - start}
        call = make(implementation, CASES[command["case"]])
        if command["do"] == "memory":
            before = resident()
            first, second = peak_of(call), peak_of(call)
            return {"first": first - before, "second": second - before}
        loss, gradients = call()
        norm = [np.linalg.norm(np.asarray(g)) for g in gradients]
        return {"loss": loss, "norm": float(np.linalg.norm(norm))}

    serve(answer_to)


def start(implementation):
    """An implementation in a process of its own."""
    if implementation not in OURS:
        return Worker(__file__, implementation)
    backend = implementation.removesuffix("-xla")
    return Worker(__file__, implementation, KERAS_BACKEND=backend)


# Measurements


def check(case, results):
    """Raises unless all implementations computed the same thing."""
    expected = results["definition"]
    for name, result in results.items():
        # Lightly's objective is its own.
        if "error" in result or name == "lightly":
            continue
        for key in ("loss", "norm"):
            # float32 sums in another order; a wrong factor is far above.
            if abs(result[key] / expected[key] - 1) > 1e-3:
                raise RuntimeError(
                    f"{case}: {name} has {key} {result[key]:.6g}, the "
                    f"definition {expected[key]:.6g}."
                )


def time_case(case, workers, repeats):
    """Seconds of each implementation, a list over rounds."""
    results = {}
    for name, worker in workers.items():
        results[name] = worker.ask("prepare", case=case)
        if "error" in results[name]:
            print(f"{case}: {name}: {results[name]['error']}", file=sys.stderr)
    if "error" in results["definition"]:
        raise RuntimeError("The definition did not run; see above.")
    check(case, results)
    seconds = {n: [] for n, result in results.items() if "error" not in result}
    # The first round is warm-up.
    for number in range(repeats + 1):
        for name, times in seconds.items():
            answer = workers[name].ask("time")
            if "error" in answer:
                raise RuntimeError(f"{case}: {name}: {answer['error']}")
            if number:
                times.append(answer["seconds"])
    return seconds


def memory_case(case, implementations):
    """Bytes over the start of each implementation, in fresh processes."""
    results = {}
    for name in implementations:
        with start(name) as worker:
            answer = worker.ask("memory", case=case)
        if "error" not in answer:
            results[name] = answer
    return results


def table(case, seconds, memory):
    """Rows of the Markdown table."""
    settings = CASES[case]
    base, rows = seconds["definition"], []
    base_memory = memory["definition"]["second"]
    for name, times in seconds.items():
        ratio = statistics.median(
            slow / fast for slow, fast in zip(base, times, strict=True)
        )
        row = [settings["title"], name, f"{statistics.median(times):.3f}"]
        size = ["-", "-", "-"]
        if name in memory:
            first, second = memory[name]["first"], memory[name]["second"]
            size = [f"{first / 2**20:.0f}", f"{second / 2**20:.0f}"]
            size.append(f"{second / base_memory:.3f}")
        if name == "definition":
            row += ["1", "", *size, ""]
        else:
            row += [f"{ratio:.1f}", f">= {settings['speed']}"]
            row += [*size, f"<= {settings['memory']:.3f}"]
        rows.append("| " + " | ".join(row) + " |")
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--backends", nargs="+", choices=OURS, default=OURS)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments.worker)
        return

    names = ["definition", *arguments.backends]
    if importlib.util.find_spec("lightly"):
        names.append("lightly")
    else:
        print("lightly is not installed: left out.", file=sys.stderr)
    print(f"Cores: {os.cpu_count()}. Rounds: {arguments.repeats}.\n")
    header = ["case", "implementation", "s", "times faster", "target"]
    header += ["first call, MiB", "second call, MiB", "of definition", "target"]
    print("| " + " | ".join(header) + " |")
    print("|" + " --- |" * len(header), flush=True)
    for case in arguments.cases:
        # New workers for each case: none holds another case's memory.
        workers = {name: start(name) for name in names}
        try:
            seconds = time_case(case, workers, arguments.repeats)
        finally:
            for worker in workers.values():
                worker.__exit__()
        memory = memory_case(case, seconds)
        print("\n".join(table(case, seconds, memory)), flush=True)


if __name__ == "__main__":
    main()
