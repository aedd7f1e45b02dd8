"""What precision, recomputation and accumulation do to memory and time.

    python benchmarks/memory.py                          # 2 hours, 2 CPU cores
    python benchmarks/memory.py --cases resnet50 --backends torch

Whole training steps of VICRegL with the networks, heads, views and optimizers
of the recipes, each setting in a fresh process. "Accumulated" takes a quarter
of the batch at a time, and its optimizer steps once in four: terms are those of
the small batches. Memory: on a CPU the highest resident size during the third
step over that before the model was built, on a GPU what the framework had
allocated at most. Seconds are those of a batch (of four parts where it is
accumulated), the least of three.

Prints a Markdown table. Needs Linux (/proc).
"""

import argparse
import os
import sys
import time

from measuring import Worker, peak_of, resident, serve
from step import ask, row
from step_parts import Step, allocated_at_most, import_keras

CASES = {
    "resnet50": {"recipe": "resnet50", "batch_sizes": (8, 16)},
    "convnext_small": {"recipe": "convnext_small", "batch_sizes": (4, 8)},
}
BACKENDS = ("tensorflow", "jax", "torch")
ACCUMULATED = 4
# Precision, whether blocks are recomputed, and in how many parts.
SETTINGS = {
    "float32": ("float32", False, 1),
    "mixed_bfloat16": ("mixed_bfloat16", False, 1),
    "remat": ("float32", True, 1),
    "accumulated": ("float32", False, ACCUMULATED),
    "mixed_bfloat16, remat": ("mixed_bfloat16", True, 1),
    "mixed_bfloat16, remat, accumulated": ("mixed_bfloat16", True, ACCUMULATED),
}


def work(name):
    """Serves one command: measure."""

    def answer_to(command):
        settings = command["settings"]
        import_keras()
        before = resident()
        step = Step(settings, name)
        step.step()  # compiles
        step.step()
        peak = peak_of(step.step) - before
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            for _ in range(settings["accumulated"]):
                step.step()
            seconds.append(time.perf_counter() - start)
        return {"bytes": allocated_at_most() or peak, "seconds": min(seconds)}

    serve(answer_to)


def settings_of(case, batch_size, name):
    precision, remat, parts = SETTINGS[name]
    return {
        "recipe": CASES[case]["recipe"],
        "backbone": case,
        "alpha": 0.75,
        "batch_size": batch_size // parts,
        "precision": precision,
        "remat": remat,
        "accumulated": parts,
    }


def measure(backend, settings):
    worker = Worker(
        __file__,
        backend,
        KERAS_BACKEND=backend,
        XLA_PYTHON_CLIENT_PREALLOCATE="false",
        TF_FORCE_GPU_ALLOW_GROWTH="true",
    )
    with worker:
        return ask(worker, "measure", settings=settings)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    add("--cases", nargs="+", choices=CASES, default=list(CASES))
    add("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    add("--batch-sizes", nargs="+", type=int, help="instead of the cases'")
    add("--worker", help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if arguments.worker:
        work(arguments.worker)
        return
    print(f"Cores: {os.cpu_count()}.\n")
    print(row("network", "backend", "batch", "setting", "MiB", "seconds"))
    print("|---|---|---:|---|---:|---:|", flush=True)
    failed = []
    for case in arguments.cases:
        for batch_size in arguments.batch_sizes or CASES[case]["batch_sizes"]:
            for backend in arguments.backends:
                for name in arguments.settings:
                    what = (case, backend, batch_size, name)
                    try:
                        found = measure(
                            backend, settings_of(case, batch_size, name)
                        )
                    except RuntimeError as error:
                        print(f"{what}: {error}", file=sys.stderr)
                        failed.append(what)
                        continue
                    print(
                        row(
                            *what,
                            f"{found['bytes'] / 2**20:,.0f}",
                            f"{found['seconds']:.2f}",
                        ),
                        flush=True,
                    )
    if failed:
        sys.exit(f"Not measured: {', '.join(map(str, failed))}.")


if __name__ == "__main__":
    main()
