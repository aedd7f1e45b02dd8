"""Time and memory of whole training steps, and where they go.

    python benchmarks/step.py                              # 2 to 3 hours, CPU
    python benchmarks/step.py --cases resnet50 --backends tensorflow
    python benchmarks/step.py --batch-size 256 --precision mixed_bfloat16  # GPU

VICReg (alpha 1) beside VICRegL (alpha 0.75), with the networks, heads, views
and optimizers of the recipes, by `VICRegL.train_on_batch`. Each lives in a
process of its own, and so does a step of VICRegL in plain PyTorch
(`plain_step.py`, float32); they take turns, once each a round, so that whatever
else the machine does meets all alike. What the local criterion adds, and how
many times faster than the plain step the library's is, are medians over the
rounds of the times' ratios. Peak memory is taken in fresh processes:
on a CPU the highest resident size during a step over that before the model was
built, on a GPU what the framework had allocated at most; first step (with
compilation) and second.

The budget is that of alpha 0.75: each part - forward, and backward where there
is one - compiled and timed by itself, in turn. Parts that share a memory do not
add up to the step exactly. Views are made by TensorFlow on the CPU, of images
of 256 x 256 px; in training that goes on while the step before is computed, so
that it costs time only where both need the same cores.

Prints Markdown tables. Needs Linux (/proc).
"""

import argparse
import os
import statistics
import sys
import time

from measuring import Worker, peak_of, resident, serve
from step_parts import Step, allocated_at_most, import_keras, make_views

# The batch, and by how much the local criterion may lengthen a step.
CASES = {
    "resnet50": {
        "title": "ResNet-50, 2 x 224 px",
        "recipe": "resnet50",
        "backbone": "resnet50",
        "batch_size": 8,
        "target": 0.05,
    },
    "convnext_tiny": {
        "title": "ConvNeXt-T, 2 x 224 + 6 x 96 px",
        "recipe": "convnext_small",
        "backbone": "convnext_tiny",
        "batch_size": 4,
        "target": 0.10,
    },
}
BACKENDS = ("tensorflow", "tensorflow-xla", "jax", "torch")
ALPHAS = (1.0, 0.75)
# Not of the library: what it is measured beside.
PLAIN = "plain"
PARTS = ("backbone", "backbone and heads", "losses", "optimizer")


# In the process that measures


def make_step(settings, name):
    if name == PLAIN:
        from plain_step import PlainStep

        return PlainStep(settings)
    return Step(settings, name)


def work(name):
    """Serves commands: prepare, time, views, memory."""
    held = {}

    def answer_to(command):
        settings = command.get("settings")
        if command["do"] == "prepare":
            held["step"] = make_step(settings, name)
            first, second = held["step"].step(), held["step"].step()
            return {"loss": second, "first": first}
        if command["do"] == "time":
            call = held["step"].part(command["part"])
            start = time.perf_counter()
            call()
            return {"seconds": time.perf_counter() - start}
        if command["do"] == "views":
            if "views" not in held:
                held["views"] = make_views(settings)
            start = time.perf_counter()
            held["views"]()
            return {"seconds": time.perf_counter() - start}
        import_keras()
        before = resident()
        step = make_step(settings, name)
        first, second = peak_of(step.step), peak_of(step.step)
        if device := allocated_at_most():
            return {"first": device, "second": device, "where": "GPU"}
        return {
            "first": first - before,
            "second": second - before,
            "where": "CPU",
        }

    serve(answer_to)


# In the one that asks


def start(name):
    return Worker(
        __file__,
        name,
        KERAS_BACKEND="torch" if name == PLAIN else name.removesuffix("-xla"),
        # Several processes share a GPU.
        XLA_PYTHON_CLIENT_PREALLOCATE="false",
        TF_FORCE_GPU_ALLOW_GROWTH="true",
    )


def ask(worker, do, **details):
    answer = worker.ask(do, **details)
    if "error" in answer:
        raise RuntimeError(f"{do} {details}: {answer['error']}")
    return answer


def time_steps(name, settings, rounds):
    """Seconds by alpha, of the plain step and by part, lists over rounds."""
    workers = {alpha: start(name) for alpha in ALPHAS}
    workers[PLAIN] = start(PLAIN)
    try:
        for kind, worker in workers.items():
            alpha = ALPHAS[1] if kind == PLAIN else kind
            ask(worker, "prepare", settings={**settings, "alpha": alpha})
        steps = {kind: [] for kind in workers}
        # The first round is warm-up.
        for number in range(rounds + 1):
            # Each alpha is first in every other round.
            order = ALPHAS if number % 2 else ALPHAS[::-1]
            for kind in (*order, PLAIN):
                answer = ask(workers[kind], "time", part="step")
                if number:
                    steps[kind].append(answer["seconds"])
        for kind in (ALPHAS[0], PLAIN):
            workers.pop(kind).__exit__()
        parts = {part: [] for part in ("step", *PARTS, "views")}
        for number in range(rounds + 1):
            for part, seconds in parts.items():
                worker = workers[ALPHAS[1]]
                if part == "views":
                    answer = ask(worker, "views", settings=settings)
                else:
                    answer = ask(worker, "time", part=part)
                if number:
                    seconds.append(answer["seconds"])
    finally:
        for worker in workers.values():
            worker.__exit__()
    return steps, parts


def memory_of(name, settings, alphas=ALPHAS):
    """Bytes by alpha, in fresh processes."""
    found = {}
    for alpha in alphas:
        with start(name) as worker:
            found[alpha] = ask(
                worker, "memory", settings={**settings, "alpha": alpha}
            )
    return found


def row(*cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def step_row(case, name, settings, steps, memory):
    medians = {kind: statistics.median(steps[kind]) for kind in steps}
    added = statistics.median(
        local / plain - 1
        for plain, local in zip(*(steps[a] for a in ALPHAS), strict=True)
    )
    faster = statistics.median(
        plain / ours
        for plain, ours in zip(steps[PLAIN], steps[ALPHAS[1]], strict=True)
    )
    sizes = [
        f"{memory[alpha]['first'] / 2**20:.0f} / "
        f"{memory[alpha]['second'] / 2**20:.0f}"
        if memory
        else "-"
        for alpha in ALPHAS
    ]
    return row(
        CASES[case]["title"],
        name,
        settings["batch_size"],
        *(f"{medians[alpha]:.3f}" for alpha in ALPHAS),
        f"{100 * added:+.1f} %",
        f"<= {100 * CASES[case]['target']:.0f} %",
        f"{medians[PLAIN]:.3f}",
        f"x {faster:.2f}",
        f"{settings['batch_size'] / medians[ALPHAS[1]]:.1f}",
        *sizes,
    )


def budget_row(case, name, parts):
    seconds = {part: statistics.median(times) for part, times in parts.items()}
    whole, both = seconds["step"], seconds["backbone and heads"]
    shares = {
        "views": seconds["views"],
        "backbone": seconds["backbone"],
        "heads": both - seconds["backbone"],
        "losses": seconds["losses"],
        "optimizer": seconds["optimizer"],
        "rest": whole - both - seconds["losses"] - seconds["optimizer"],
    }
    return row(
        CASES[case]["title"],
        name,
        f"{whole:.3f}",
        *(f"{s:.3f} ({100 * s / whole:.0f} %)" for s in shares.values()),
    )


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    add("--cases", nargs="+", choices=CASES, default=CASES)
    add("--batch-size", type=int, help="instead of the case's")
    add("--precision", default="float32")
    add("--remat", action="store_true", help="recompute the backbone's blocks")
    add("--repeats", type=int, default=5)
    add("--no-memory", action="store_true", help="time only")
    add("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def settings_of(case, arguments):
    keys = ("recipe", "backbone", "batch_size")
    settings = {key: CASES[case][key] for key in keys}
    if arguments.batch_size:
        settings["batch_size"] = arguments.batch_size
    return {
        **settings,
        "precision": arguments.precision,
        "remat": arguments.remat,
    }


def main():
    arguments = parse_arguments()
    if arguments.worker:
        work(arguments.worker)
        return
    print(
        f"Cores: {os.cpu_count()}. Precision: {arguments.precision}. "
        f"Recomputed: {arguments.remat}. Rounds: {arguments.repeats}.\n"
    )
    steps_table = [
        row("case", "backend", "batch", "alpha 1, s", "alpha 0.75, s")
        + " added | target | plain, s | faster than plain | images/s "
        "| alpha 1, MiB | alpha 0.75, MiB |",
        "|" + " --- |" * 12,
    ]
    budget_table = [
        row("case", "backend", "step, s", "views", "backbone", "heads")
        + " losses | optimizer | rest |",
        "|" + " --- |" * 9,
    ]
    failed = []
    for case in arguments.cases:
        if not arguments.no_memory:
            settings = settings_of(case, arguments)
            found = memory_of(PLAIN, settings, ALPHAS[1:])[ALPHAS[1]]
            print(
                f"Plain PyTorch, {CASES[case]['title']}, alpha {ALPHAS[1]}: "
                f"{found['first'] / 2**20:.0f} / "
                f"{found['second'] / 2**20:.0f} MiB\n",
                flush=True,
            )
        for name in arguments.backends:
            settings = settings_of(case, arguments)
            try:
                steps, parts = time_steps(name, settings, arguments.repeats)
                memory = None
                if not arguments.no_memory:
                    memory = memory_of(name, settings)
            except RuntimeError as error:
                print(f"{case}, {name}: {error}", file=sys.stderr)
                failed.append(f"{case} on {name}")
                continue
            steps_table.append(step_row(case, name, settings, steps, memory))
            budget_table.append(budget_row(case, name, parts))
            print("\n".join(steps_table[:2] + steps_table[-1:]))
            print("\n".join(budget_table[:2] + budget_table[-1:]), flush=True)
    print("\n" + "\n".join(steps_table) + "\n\n" + "\n".join(budget_table))
    if failed:
        sys.exit(f"Not measured: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
