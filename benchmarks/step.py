"""Time and memory of whole training steps, and where they go.

    python benchmarks/step.py                              # 2 to 3 hours, CPU
    python benchmarks/step.py --cases resnet50 --backends tensorflow
    python benchmarks/step.py --batch-size 256 --precision mixed_bfloat16  # GPU

VICReg (alpha 1) beside VICRegL (alpha 0.75), with the networks, heads, views
and optimizers of the recipes, by `VICRegL.train_on_batch`. Each lives in a
process of its own; they take turns, once each a round, so that whatever else
the machine does meets both alike. What the local criterion adds is the median
over the rounds of the times' ratio. Peak memory is taken in fresh processes:
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
PARTS = ("backbone", "backbone and heads", "losses", "optimizer")


# In the process that measures


def work(name):
    """Serves commands: prepare, time, views, memory."""
    held = {}

    def answer_to(command):
        settings = command.get("settings")
        if command["do"] == "prepare":
            held["step"] = Step(settings, name)
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
        step = Step(settings, name)
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
        KERAS_BACKEND=name.removesuffix("-xla"),
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
    """Seconds by alpha and by part, lists over rounds."""
    workers = {alpha: start(name) for alpha in ALPHAS}
    try:
        for alpha, worker in workers.items():
            ask(worker, "prepare", settings={**settings, "alpha": alpha})
        steps = {alpha: [] for alpha in ALPHAS}
        # The first round is warm-up.
        for number in range(rounds + 1):
            # Each alpha is first in every other round.
            order = ALPHAS if number % 2 else ALPHAS[::-1]
            for alpha in order:
                answer = ask(workers[alpha], "time", part="step")
                if number:
                    steps[alpha].append(answer["seconds"])
        workers.pop(ALPHAS[0]).__exit__()
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


def memory_of(name, settings):
    """Bytes by alpha, in fresh processes."""
    found = {}
    for alpha in ALPHAS:
        with start(name) as worker:
            found[alpha] = ask(
                worker, "memory", settings={**settings, "alpha": alpha}
            )
    return found


def row(*cells):
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def step_row(case, name, settings, steps, memory):
    medians = {alpha: statistics.median(steps[alpha]) for alpha in ALPHAS}
    added = statistics.median(
        local / plain - 1
        for plain, local in zip(*(steps[a] for a in ALPHAS), strict=True)
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
        + " added | target | images/s | alpha 1, MiB | alpha 0.75, MiB |",
        "|" + " --- |" * 10,
    ]
    budget_table = [
        row("case", "backend", "step, s", "views", "backbone", "heads")
        + " losses | optimizer | rest |",
        "|" + " --- |" * 9,
    ]
    failed = []
    for case in arguments.cases:
        for name in arguments.backends:
            settings = {
                key: CASES[case][key]
                for key in ("recipe", "backbone", "batch_size")
            }
            settings["precision"] = arguments.precision
            settings["remat"] = arguments.remat
            if arguments.batch_size:
                settings["batch_size"] = arguments.batch_size
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
