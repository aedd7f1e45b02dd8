"""What ten minutes of a GPU tell: speed, memory, exactness, CIFAR-10.

    python benchmarks/gpu.py OUT                       # JAX, then PyTorch
    python benchmarks/gpu.py OUT speed parity --backends torch
    python benchmarks/gpu.py OUT cifar --cifar10 DIR   # DIR/train, DIR/test
    python benchmarks/gpu.py OUT --tiny                # small shapes, on a CPU

`speed`: whole steps of ResNet-50 in bfloat16 with the paper's heads, VICReg
beside VICRegL: seconds, pairs of images a second, peak memory. `parity`: the
recorded cases of the objective in float32, worst relative errors. `cifar`:
ResNet-18 on CIFAR-10 with views made on the device, VICReg beside VICRegL, by
nearest neighbours and a linear classifier; one folder a class.

Each stage is a process with a time limit, so that one that fails costs no other
anything. Results are lines of OUT/results.jsonl as soon as they are known, the
machine first. No TensorFlow is needed. What was measured where belongs into
`benchmarks/results`.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
STAGES = ("speed", "parity", "cifar")
BACKENDS = ("jax", "torch")
# Seconds.
LIMITS = {"speed": 220, "parity": 80, "cifar": 300}


def say(output, **row):
    line = json.dumps(row)
    print(line, flush=True)
    with open(output / "results.jsonl", "a") as file:
        file.write(line + "\n")


# In a process of its own


def speed(arguments):
    """Whole steps on views that lie on the device."""
    from step_parts import Step

    from keras_vicregl.distribution import peak_memory

    tiny = arguments.tiny
    batch = 4 if tiny else arguments.batch_size
    seconds = {}
    for alpha in (1.0, 0.75):
        start = time.perf_counter()
        step = Step(
            {
                "recipe": "scenes" if tiny else "resnet50",
                "backbone": "small_resnet" if tiny else "resnet50",
                "precision": "float32" if tiny else "mixed_bfloat16",
                "batch_size": batch,
                "alpha": alpha,
                "remat": False,
            },
            arguments.backend,
        )
        step.step()
        first = time.perf_counter() - start
        times = []
        for _ in range(3 if tiny else 20):
            start = time.perf_counter()
            step.step()
            times.append(time.perf_counter() - start)
        # After two more steps that may compile again.
        seconds[alpha] = statistics.median(times[2:])
        peak = peak_memory()
        yield {
            "batch": batch,
            "alpha": alpha,
            "until_first_step_s": round(first, 2),
            "step_s": round(seconds[alpha], 5),
            "pairs_per_s": round(batch / seconds[alpha], 1),
            "peak_gib": peak and round(peak / 2**30, 2),
        }
        del step
    yield {"local_adds": round(seconds[0.75] / seconds[1.0] - 1, 4)}


def parity(arguments):
    """Recorded terms and gradients beside those of this device."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "losses")]
    import figures
    from backend_tools import relative_error, value_and_grad

    from keras_vicregl.losses import vicregl_loss

    for case in figures.CASES:
        found = figures.load(case)
        embeddings, maps = found.embeddings or [], found.maps or []
        count = len(embeddings)

        def loss(*tensors, found=found, count=count):
            return vicregl_loss(
                list(tensors[:count]) or None,
                list(tensors[count:]) or None,
                found.positions,
                **found.options,
            )

        terms, gradients = value_and_grad(
            loss, [*embeddings, *maps], compiled=arguments.backend == "jax"
        )
        expected = [
            *(found.embedding_gradients or [None] * count),
            *(found.map_gradients or [None] * len(maps)),
        ]
        yield {
            "case": case,
            "terms": max(
                abs(float(terms[name]) - value) / max(abs(value), 1e-3)
                for name, value in found.terms.items()
            ),
            "gradients": max(
                float(relative_error(ours, theirs))
                for ours, theirs in zip(gradients, expected, strict=True)
                if theirs is not None
            ),
        }


def cifar(arguments):
    """Pretrains and judges frozen features."""
    import keras

    from keras_vicregl import VICRegL
    from keras_vicregl.data import ArrayBatches
    from keras_vicregl.evaluation import (
        evaluate_knn,
        evaluate_linear,
        extract_features,
    )
    from keras_vicregl.models.backbones import ResNet18, SmallResNet
    from keras_vicregl.optimizers import AdamW, warmup_cosine
    from keras_vicregl.views import MultiView

    tiny = arguments.tiny
    splits = [
        read_classes(arguments.cifar10 / split, 20 if tiny else None)
        for split in ("train", "test")
    ]
    images = splits[0]["images"]
    epochs, batch = (1, 32) if tiny else (arguments.epochs, 512)
    steps = len(images) // batch
    precision = "float32" if tiny else "mixed_bfloat16"
    views = MultiView(
        groups=[{"size": 32, "count": 2, "scale": [0.2, 1.0], "blur": [0.0]}],
        on="device",
    )
    for alpha in (0.75, 1.0):
        keras.utils.set_random_seed(0)
        # 32 px become 4 x 4 positions.
        model = VICRegL(
            SmallResNet()
            if tiny
            else ResNet18(stem="small", stem_strides=1, dtype=precision),
            alpha=alpha,
            expander_units=(2048,) * 3,
            local_expander_units=(256,) * 3,
            num_matches=(6, 6),
            views=views,
            dtype=precision,
        )
        rate = warmup_cosine(1e-3, batch, steps, epochs, epochs / 10)
        model.compile(AdamW(rate, weight_decay=0.02))
        start = time.perf_counter()
        history = model.fit(
            ArrayBatches(
                {"images": images}, views, batch_size=batch, seed=0, workers=4
            ),
            epochs=epochs,
            verbose=0,
        ).history
        seconds = time.perf_counter() - start
        features = [
            extract_features(model.backbone, split, pooled=True)
            for split in splits
        ]
        yield {
            "alpha": alpha,
            "epochs": epochs,
            "batch": batch,
            "fit_s": round(seconds, 1),
            "pairs_per_s": round(epochs * steps * batch / seconds),
            "last": {k: round(v[-1], 4) for k, v in history.items()},
            "knn": float(
                evaluate_knn(None, *features, k=5 if tiny else 20)["top1"]
            ),
            "linear": float(evaluate_linear(None, *features)["top1"]),
        }


def read_classes(folder, most):
    """Images and labels of a folder a class."""
    from PIL import Image

    images, labels = [], []
    folders = sorted(path for path in folder.iterdir() if path.is_dir())
    for label, each in enumerate(folders):
        for file in sorted(each.iterdir())[:most]:
            images.append(np.asarray(Image.open(file).convert("RGB")))
            labels.append(label)
    return {"images": np.stack(images), "labels": np.asarray(labels, "int32")}


# In the one that starts them


def card():
    """The GPUs by name, or None."""
    try:
        found = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, check=False
        )
    except OSError:
        return None
    return found.stdout.strip() or None


def run(stage, backend, arguments):
    start = time.perf_counter()
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }
    command = [sys.executable, __file__, *sys.argv[1:], "--worker", stage]
    try:
        done = subprocess.run(
            [*command, "--backend", backend],
            env=environment,
            timeout=LIMITS[stage],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        code, error = done.returncode, done.stderr[-1500:]
    except subprocess.TimeoutExpired:
        code, error = "time limit", ""
    say(
        arguments.output,
        stage=stage,
        backend=backend,
        rc=code,
        wall_s=round(time.perf_counter() - start, 1),
        error=error if code else None,
    )
    return code == 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("output", type=pathlib.Path, metavar="OUT")
    add("stages", nargs="*", metavar="STAGE", help=", ".join(STAGES))
    add("--backends", nargs="+", choices=BACKENDS, default=BACKENDS)
    add("--batch-size", type=int, default=256, help="of the stage speed")
    add("--epochs", type=int, default=30, help="of the stage cifar")
    add("--cifar10", type=pathlib.Path, help="folder with train/ and test/")
    add("--tiny", action="store_true", help="small shapes, to see that it runs")
    add("--worker", help=argparse.SUPPRESS)
    add("--backend", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if unknown := set(arguments.stages) - set(STAGES):
        parser.error(f"no such stage: {', '.join(sorted(unknown))}")
    if "cifar" in arguments.stages and arguments.cifar10 is None:
        parser.error("the stage cifar needs --cifar10")
    return arguments


def main():
    arguments = parse_arguments()
    if arguments.worker:
        stage = {"speed": speed, "parity": parity, "cifar": cifar}
        for row in stage[arguments.worker](arguments):
            say(
                arguments.output,
                stage=arguments.worker,
                backend=arguments.backend,
                **row,
            )
        return
    arguments.output.mkdir(parents=True, exist_ok=True)
    say(arguments.output, stage="machine", gpus=card())
    stages = arguments.stages or [
        stage for stage in STAGES if stage != "cifar" or arguments.cifar10
    ]
    done = [
        run(stage, backend, arguments)
        for stage in stages
        for backend in arguments.backends
    ]
    if not all(done):
        sys.exit("Not all was measured: see `rc` and `error` in the results.")


if __name__ == "__main__":
    main()
