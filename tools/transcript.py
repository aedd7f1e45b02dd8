"""Write docs/transcript.md: the command, from an empty environment to exports.

    python -m build --wheel
    python tools/transcript.py dist/*.whl torch

Makes an environment, installs the wheel in it, and types what a newcomer would
on a folder of 200 photographs: parts of mixed sizes of the two photographs that
scikit-learn brings, which this script's own Python must have. Commands, what
they print and how long they take are written down as they come; a command that
ends otherwise than it should ends the script, and nothing is written.
"""

import argparse
import os
import pathlib
import platform
import re
import subprocess
import sys
import tempfile
import time
import venv

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images
from try_wheel import environment_without_repository

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "transcript.md"
BESIDE = {
    "jax": "keras numpy pillow jax",
    "torch": "keras numpy pillow torch==2.13.0",
}
HEAD = """# A transcript

What a newcomer types, and what comes back: an empty environment of Python
{python}, the wheel, {backend} without TensorFlow, {cores} CPU cores. Written by
`tools/transcript.py`; after each command stands how long it took.
`photographs/` holds 160 files to train on and 40 to test with, parts of two
photographs, 96 to 200 px a side: enough to see the commands work, and no more.
"""


def write_photographs(folder):
    """200 JPEG files of mixed sizes, of two classes."""
    rng = np.random.default_rng(0)
    for name, whole in zip(
        ("temple", "flower"), load_sample_images().images, strict=True
    ):
        for split, count in (("train", 80), ("test", 20)):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                height, width = rng.integers(96, 201, 2)
                top = rng.integers(0, whole.shape[0] - height)
                left = rng.integers(0, whole.shape[1] - width)
                part = whole[top : top + height, left : left + width]
                Image.fromarray(part).save(place / f"{number:03}.jpg")


class Typist:
    """Types commands into a shell, and writes down what comes.

    Args:
        folder: where.
        scripts: folder of the environment's programs.
        backend: of Keras.
    """

    def __init__(self, folder, scripts, backend):
        self._folder = folder
        self._environment = {
            **environment_without_repository(backend),
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        }
        self.parts = []

    def say(self, text):
        self.parts.append(text)

    def type(self, command, code=0, shown=None):
        """Runs a command.

        Args:
            command: for the shell.
            code: that it should end with.
            shown: what is written down in its place.
        """
        print("$", command, flush=True)
        start = time.monotonic()
        done = subprocess.run(
            command,
            shell=True,
            executable="/bin/bash",
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - start
        print(done.stdout, flush=True)
        if done.returncode != code:
            sys.exit(f"It ended with {done.returncode}, not {code}.")
        # As a terminal shows a line that is written again and again.
        lines = [
            line.split("\r")[-1].rstrip()
            for line in done.stdout.splitlines()
            if "[notice]" not in line and "WARNING: Location" not in line
        ]
        text = "\n".join(lines).replace(str(self._folder), "~").strip("\n")
        text = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
        ended = f"# {seconds:.0f} s" + (f", exit code {code}" if code else "")
        shown = shown or command
        block = "\n".join(filter(None, [f"$ {shown}", text, ended]))
        self.parts.append(f"```text\n{block}\n```")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("wheel", type=pathlib.Path)
    parser.add_argument("backend", choices=BESIDE)
    arguments = parser.parse_args()
    wheel = arguments.wheel.resolve()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder).resolve()
        venv.create(work / "env", with_pip=True)
        write_photographs(work / "photographs")
        typist = Typist(work, work / "env" / "bin", arguments.backend)
        play(typist, wheel, arguments.backend)
    head = HEAD.format(
        python=platform.python_version(),
        backend={"jax": "JAX", "torch": "PyTorch"}[arguments.backend],
        cores=os.cpu_count(),
    )
    partial = PAGE.with_suffix(".partial")
    partial.write_text("\n\n".join([head.strip(), *typist.parts]) + "\n")
    partial.replace(PAGE)
    print(f"Written: {PAGE.relative_to(ROOT)}")


def play(typist, wheel, backend):
    """All that is typed."""
    typist.say("## Install")
    typist.type(f"pip install --quiet {BESIDE[backend]}")
    typist.type(
        f"pip install --quiet --no-deps {wheel}",
        shown="pip install --quiet --no-deps keras-vicregl",
    )
    typist.type("keras-vicregl doctor")
    typist.say(
        "## Pretrain\n\nKilled in the middle, as by a cluster or for want of "
        "power, and typed again:"
    )
    pretrain = "keras-vicregl pretrain photographs --epochs 3 --views size=64"
    typist.type(
        f"{pretrain} & trained=$!; until [ -e runs/photographs/checkpoints/"
        "epoch-0001*.npz ] || ! kill -0 $trained; do sleep 0.2; done; "
        "kill -9 $trained; wait $trained",
        code=137,
        shown=pretrain,
    )
    typist.type(pretrain)
    typist.type("ls runs/photographs")
    typist.type("keras-vicregl inspect runs/photographs")
    typist.say("## What the features are worth")
    typist.type("keras-vicregl evaluate runs/photographs photographs --size 96")
    typist.say("## Features, and other formats")
    typist.type(
        "keras-vicregl embed runs/photographs photographs --split test "
        "--output features.npz"
    )
    typist.type("keras-vicregl export runs/photographs backbone.pth")
    typist.say("## What goes wrong")
    typist.type("keras-vicregl pretrain photograph", code=2)
    typist.type(f"{pretrain} --alpha 0.5", code=2)
    typist.type("keras-vicregl export runs/photographs served", code=1)


if __name__ == "__main__":
    main()
