"""Install a wheel in an empty environment, and try it there.

    python -m build --wheel
    python tools/try_wheel.py dist/*.whl jax

With the backend tensorflow the wheel comes with all it asks for; with jax and
torch without TensorFlow and keras-cv: `--no-deps`, and what is needed beside.
What is tried, outside of the repository: version and help, `doctor`, `recipes`,
two steps of a pretraining from arrays and one from a folder of images, its
evaluation, `inspect`, `embed`, an export, and that what is missing is told;
then the way of a newcomer: `pretrain` of a folder, longer, and `evaluate`.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import venv

# What a machine without TensorFlow installs beside the wheel.
WITHOUT_TENSORFLOW = ("keras>=3.12.4,<4", "numpy>=2.0,<3", "pillow>=10")
PACKAGES = {"jax": ("jax",), "torch": ("torch==2.13.0",), "tensorflow": ()}

PROGRAM = """
import functools
import pathlib
import numpy as np
import keras
from PIL import Image
from keras_vicregl import VICRegL, backbone
from keras_vicregl.checkpoints import export
from keras_vicregl.data import load, view_batches, ArrayBatches
from keras_vicregl.evaluation import evaluate_knn
from keras_vicregl.training import pretrain
from keras_vicregl.views import MultiView

rng = np.random.default_rng(0)
folder = pathlib.Path("images")
for number in range(16):
    place = folder / f"class{number % 2}"
    place.mkdir(parents=True, exist_ok=True)
    size = (40 + number, 64, 3)
    pixels = rng.integers(0, 256, size, dtype="uint8")
    Image.fromarray(pixels).save(place / f"{number}.jpg")

views = MultiView.scenes(size=32, on="device")


def model():
    made = VICRegL(
        backbone("small_resnet", widths=(8, 8, 8, 8)),
        expander_units=(16,),
        local_expander_units=(16,),
        num_matches=(4, 4),
        views=views,
    )
    made.compile(keras.optimizers.SGD(1e-3))
    return made

arrays = rng.integers(0, 256, (16, 48, 48, 3), dtype="uint8")
for name, make_batches in (
    ("arrays", functools.partial(ArrayBatches, arrays, views)),
    ("folder", functools.partial(view_batches, load("images"), views)),
):
    trained = model()
    pretrain(
        trained,
        functools.partial(make_batches, batch_size=8, seed=0),
        epochs=1,
        output=f"run-{name}",
    )
source = load("images")
print(evaluate_knn(trained.backbone, source, source, k=1, size=32))
export(trained.backbone, "backbone.keras")
assert keras.saving.load_model("backbone.keras").output_shape[-1] == 8
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("wheel", type=pathlib.Path)
    parser.add_argument("backend", choices=PACKAGES)
    arguments = parser.parse_args()
    wheel = arguments.wheel.resolve()
    with tempfile.TemporaryDirectory() as folder:
        environment = pathlib.Path(folder, "venv")
        venv.create(environment, with_pip=True)
        scripts = environment / ("Scripts" if os.name == "nt" else "bin")
        python = str(scripts / "python")
        run = Runner(folder, arguments.backend)
        install = [python, "-m", "pip", "install", "--quiet"]
        if arguments.backend == "tensorflow":
            run(*install, f"{wheel}[examples]")
        else:
            run(*install, *WITHOUT_TENSORFLOW, *PACKAGES[arguments.backend])
            run(*install, "--no-deps", str(wheel))
        command = str(scripts / "keras-vicregl")
        run(command, "--version")
        run(command, "--help")
        run(command, "doctor")
        run(command, "recipes", "scenes")
        run(python, "-c", PROGRAM)
        run(command, "inspect", "run-folder")
        features = ("--output", "features.npz", "--size", "32")
        run(command, "embed", "backbone.keras", "images", *features)
        short = ("--epochs", "1", "--views", "size=32", "--model")
        short += ("num_matches=[4,2]", "expander_units=[16,16]")
        run(command, "pretrain", "images", *short)
        run(command, "pretrain", "images", *short, "--epochs", "2")
        judged = ("--train-split", "none", "--test-split", "none")
        judged += ("--size", "32", "--options", "knn.k=3")
        run(command, "evaluate", "runs/images", "images", *judged)
        run(command, "evaluate", "runs/images", "nowhere", code=2)
        has_tensorflow = arguments.backend == "tensorflow"
        code = 0 if has_tensorflow else 1
        run(command, "export", "backbone.keras", "served", code=code)
    print("The wheel works.")


def environment_without_repository():
    """The environment of processes that find only what is installed."""
    here = ("PYTHONPATH", "VIRTUAL_ENV", "KERAS_BACKEND")
    return {name: v for name, v in os.environ.items() if name not in here}


class Runner:
    """Runs commands outside of the repository.

    Args:
        folder: where they are run.
        backend: of Keras.
    """

    def __init__(self, folder, backend):
        self._folder = folder
        self._environment = {
            **environment_without_repository(),
            "KERAS_BACKEND": backend,
        }

    def __call__(self, *command, code=0):
        print(f"$ {' '.join(command)[:100]}", flush=True)
        done = subprocess.run(
            command, cwd=self._folder, env=self._environment, check=False
        )
        if done.returncode != code:
            sys.exit(f"It ended with {done.returncode}, not {code}.")


if __name__ == "__main__":
    main()
