"""The commands on folders where TensorFlow and keras-cv are not installed.

In processes that cannot import them, under JAX and PyTorch: a folder of JPEG
files of mixed sizes is pretrained on, the process killed in the middle of an
epoch, the run resumed, and the backbone evaluated.
"""

import json
import os
import pathlib
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from image_files import picture
from PIL import Image

from keras_vicregl.models.backbones import SmallResNet
from keras_vicregl.training import read_history

ROOT = pathlib.Path(__file__).parents[2]
BACKEND = keras.backend.backend()
SIZES = [(40, 60), (64, 48), (50, 50)]

pytestmark = pytest.mark.skipif(
    BACKEND == "tensorflow", reason="TensorFlow is the backend"
)

# Run by Python when it starts, in processes that find it.
_SITE = """
import os, signal, sys

for name in ("tensorflow", "keras_cv", "tensorflow_datasets"):
    sys.modules[name] = None
left = int(os.environ.get("CHECKPOINTS_TO_LIVE", 0))
if left:
    replace = os.replace

    def counted(source, target, **options):
        global left
        replace(source, target, **options)
        left -= str(target).endswith(".npz")  # a checkpoint has its name
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = counted
"""
# Runs commands one after the other, for it takes seconds to begin: prints of
# each its exit code, and what it said.
_COMMANDS = """
import contextlib, io, json, sys

commands = json.loads(sys.argv.pop())
sys.argv[0] = "keras-vicregl"
from keras_vicregl.commands.main import main

for each in commands:
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(each)
        except SystemExit as end:
            code = end.code
    print(json.dumps(["outcome", code, said.getvalue()]))
"""
TRAINING = (
    *("--recipe", "scenes", "--epochs", "2", "--batch-size", "8"),
    *("--backend", BACKEND, "--save-every", "2"),
    "--deterministic",
)
HEADS = ("expander_units=[32,32]", "local_expander_units=[16,16]")
REFUSED = [
    (("--views", "on=host"), "Views on the host need TensorFlow, which is"),
    (
        ("--export", "saved_model"),
        "'saved_model' needs tensorflow, not installed",
    ),
    (("--data", "imagnet"), "TFDS (there is no folder 'imagnet') need Ten"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of two classes and mixed sizes, 24 and 8, with masks."""
    root = tmp_path_factory.mktemp("photographs")
    for split, count in (("train", 24), ("test", 8)):
        for number in range(count):
            image = picture(*SIZES[number % 3], number)
            image = image // (1 + 2 * (number % 2))
            for kind, content, suffix in (
                ("images", image, "jpg"),
                ("masks", image[..., 0] // 64, "png"),
            ):
                place = root / kind / split / ("dark", "light")[number % 2]
                place.mkdir(parents=True, exist_ok=True)
                Image.fromarray(content).save(place / f"{number}.{suffix}")
    # Less to compile in each process than the recipe's network.
    network = SmallResNet(widths=(8, 8), block_counts=(1, 1), strides=(2, 2))
    network.save(root / "network.keras")
    (root / "site").mkdir()
    (root / "site" / "sitecustomize.py").write_text(_SITE)
    return root


def run(folder, *command, **environment):
    """What became of a script that finds no TensorFlow."""
    paths = [folder / "site", ROOT, os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, paths)),
        **environment,
    }
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def training(folder, name, *options):
    output = ("--output", folder / name)
    data = () if "--data" in options else ("--data", folder / "images")
    network = f"backbone={folder / 'network.keras'}"
    model = ("--model", network, *HEADS)
    words = ("pretrain", *TRAINING, *model, *data, *output, *options)
    return list(map(str, words))


def pretrained(folder, name, *launcher, **environment):
    module = ("-m", "keras_vicregl")
    return run(
        folder, *launcher, *module, *training(folder, name), **environment
    )


@pytest.fixture(scope="module")
def outcomes(folder):
    """Exit codes and words of a whole run, its evaluation, and what is refused.

    All in one process.
    """
    evaluation = (
        *("evaluate", folder / "whole", folder / "images"),
        *("--backend", BACKEND, "--size", 32),
        *("--train-masks", folder / "masks" / "train"),
        *("--test-masks", folder / "masks" / "test"),
        *("--protocols", "knn", "linear", "segmentation"),
        *("--options", "knn.k=3", "--output", folder / "figures.json"),
    )
    commands = [
        training(folder, "whole"),
        list(map(str, evaluation)),
        *(training(folder, "refused", *options) for options, _ in REFUSED),
    ]
    done = run(folder, "-c", _COMMANDS, json.dumps(commands))
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    found = [tuple(json.loads(line)[1:]) for line in lines]
    assert len(found) == len(commands), done.stdout
    return found


@pytest.fixture(scope="module")
def whole(folder, outcomes):
    code, said = outcomes[0]
    assert code == 0, said
    # Nobody asked for it.
    assert "made by the model, for keras-cv is not installed" in said
    return folder / "whole"


def weights(output):
    model = keras.saving.load_model(output / "backbone.keras")
    return [np.asarray(each) for each in model.get_weights()]


def test_a_killed_run_goes_on_bit_for_bit(folder, whole):
    # One at the beginning, and one in the middle of an epoch of three steps.
    output = folder / "cut"
    done = pretrained(folder, "cut", CHECKPOINTS_TO_LIVE="2")
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (output / "backbone.keras").exists()
    done = pretrained(folder, "cut")
    assert done.returncode == 0, done.stderr
    assert "resumed after 0 epochs and 2 batches" in done.stdout + done.stderr
    expected, found = weights(whole), weights(output)
    assert len(expected) == len(found)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert read_history(whole)["loss"] == read_history(output)["loss"]


def test_it_is_evaluated(folder, outcomes):
    code, said = outcomes[1]
    assert code == 0, said
    found = json.loads((folder / "figures.json").read_text())
    assert set(found) == {"knn", "linear", "segmentation"}
    # One class is a third as bright: pooled features of any network tell.
    assert found["linear"]["train_top1"] >= 0.75
    assert found["segmentation"]["pixel_accuracy"] > 0.3


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_needs_tensorflow_says_so_before_it_writes(
    folder, outcomes, number
):
    code, said = outcomes[2 + number]
    assert code == 1, said
    assert REFUSED[number][1] in said.splitlines()[-1]
    assert "Traceback" not in said
    assert not (folder / "refused").exists()


@pytest.mark.skipif(BACKEND != "torch", reason="torchrun is PyTorch's")
def test_torchrun_with_two_processes(folder, whole):
    launcher = ("-m", "torch.distributed.run", "--standalone")
    done = pretrained(folder, "together", *launcher, "--nproc-per-node", "2")
    assert done.returncode == 0, done.stderr
    assert (folder / "together" / "backbone.keras").exists()
    # Statistics are those of the whole batch: only sums differ, which training
    # of a few steps makes larger.
    np.testing.assert_allclose(
        read_history(folder / "together")["loss"],
        read_history(whole)["loss"],
        rtol=2e-3,
    )
