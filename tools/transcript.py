"""Write docs/transcript.md: the command, from an empty environment to exports.

    python -m build --wheel
    python tools/transcript.py dist/*.whl torch --images CamVid/images \
        --masks CamVid/masks

Makes an environment, installs the wheel in it by the line that README.md has
for the backend, and types what a newcomer would on a folder of 200 photographs
of mixed sizes, made of the folders train and test in --images, with masks of
the same names in --masks. Commands, what they print and how long they take are
written down as they come, into the backend's section of the page; a command
that ends otherwise than it should ends the script, and nothing is written.
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
from try_wheel import environment_without_repository

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "transcript.md"
TITLES = {
    "torch": "PyTorch, without TensorFlow",
    "jax": "JAX, without TensorFlow",
    "tensorflow": "TensorFlow",
}
# Of the registry that it was last written with.
PINNED = {"torch": "torch==2.13.0"}
# What is exported, and the exit code: 1 where a package is missing.
EXPORTS = {
    "torch": {"backbone.pth": 0, "backbone.onnx": 1, "served": 1},
    "jax": {"exported.keras": 0, "backbone.pth": 1, "served": 1},
    "tensorflow": {"served": 0, "backbone.onnx": 1, "backbone.pth": 1},
}
HEAD = """# A transcript

What a newcomer types on each backend, and what comes back, from an empty
environment on. Written by `tools/transcript.py`; after each command stands how
long it took. `photographs/` holds 160 files to train on and 40 to test with,
frames of CamVid, 144 to 480 px a side, and `masks/` their masks: enough to see
the commands work, and no more."""
COUNTS = {"train": 160, "test": 40}


def write_photographs(folder, images, masks):
    """200 JPEG files of mixed sizes, and their masks."""
    rng = np.random.default_rng(0)
    for split, count in COUNTS.items():
        paths = sorted((images / split).glob("*.jpg"))
        for index in np.linspace(0, len(paths) - 1, count).astype(int):
            path = paths[index]
            mask = masks / split / f"{path.stem}.png"
            scale = rng.uniform(0.4, 1.0)
            for kind, source, resample, end in (
                ("photographs", path, Image.Resampling.BILINEAR, ".jpg"),
                ("masks", mask, Image.Resampling.NEAREST, ".png"),
            ):
                place = folder / kind / split
                place.mkdir(parents=True, exist_ok=True)
                with Image.open(source) as image:
                    size = [round(scale * side) for side in image.size]
                    small = image.resize(size, resample)
                    small.save(place / f"{path.stem}{end}")


def install_line(backend):
    """That of README.md, which is held to work here."""
    lines = (ROOT / "README.md").read_text().splitlines()
    if backend == "tensorflow":
        (line,) = (
            line.partition("#")[0].strip()
            for line in lines
            if line.startswith("pip install keras-vicregl ")
        )
        return line
    (line,) = (
        line
        for line in lines
        if line.startswith("pip install") and f" {backend} && " in line
    )
    return line.replace(f" {backend} ", f" {PINNED.get(backend, backend)} ")


class Typist:
    """Types commands into a shell, and writes down what comes.

    Args:
        folder: where.
        scripts: folder of the environment's programs.
    """

    def __init__(self, folder, scripts):
        self._folder = folder
        self._environment = {
            **environment_without_repository(),
            "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
            "KERAS_HOME": str(folder / ".keras"),
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
    parser.add_argument("backend", choices=TITLES)
    parser.add_argument("--images", type=pathlib.Path, required=True)
    parser.add_argument("--masks", type=pathlib.Path, required=True)
    parser.add_argument(
        "--beside", action="store_true", help="say that other work was going on"
    )
    arguments = parser.parse_args()
    wheel = arguments.wheel.resolve()
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder).resolve()
        venv.create(work / "env", with_pip=True)
        write_photographs(work, arguments.images, arguments.masks)
        typist = Typist(work, work / "env" / "bin")
        typist.say(machine(arguments.beside))
        play(typist, wheel, arguments.backend)
    write_section(arguments.backend, "\n\n".join(typist.parts))
    print(f"Written: {PAGE.relative_to(ROOT)}")


def machine(beside):
    """Where it was typed."""
    text = f"Python {platform.python_version()}, {os.cpu_count()} CPU cores"
    if beside:
        text += (
            ", which other work was using too: times are several times those "
            "of a machine of one's own"
        )
    return f"{text}."


def write_section(backend, text):
    """Puts it in the place of the section that the page has."""
    page = PAGE.read_text() if PAGE.exists() else ""
    found = dict(zip(TITLES.values(), TITLES, strict=True))
    sections = {}
    for part in page.split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        if title in found:
            sections[found[title]] = body.strip("\n")
    sections[backend] = text
    parts = [HEAD] + [
        f"## {title}\n\n{sections[name]}"
        for name, title in TITLES.items()
        if name in sections
    ]
    partial = PAGE.with_suffix(".partial")
    partial.write_text("\n\n".join(parts) + "\n")
    partial.replace(PAGE)


def play(typist, wheel, backend):
    """All that is typed."""
    typist.say("### Install")
    line = install_line(backend).replace("pip install", "pip install --quiet")
    typist.type(line.replace("keras-vicregl", str(wheel)), shown=line)
    typist.type("keras-vicregl doctor")
    typist.say(
        "### Pretrain\n\nKilled in the middle, as by a cluster or for want of "
        "power, and typed again:"
    )
    pretrain = (
        "keras-vicregl pretrain photographs --epochs 2 --views size=96 "
        "--model batch_norm_momentum=0.5"
    )
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
    typist.say("### What the features are worth")
    typist.type(
        "keras-vicregl evaluate runs/photographs --protocols segmentation "
        "--size 128 photographs --train-masks masks/train --test-masks "
        "masks/test --data-options ignore_label=11"
    )
    typist.say("### Features, and other formats")
    typist.type(
        "keras-vicregl embed runs/photographs photographs --split test "
        "--output features.npz"
    )
    for path, code in EXPORTS[backend].items():
        if not code:
            typist.type(f"keras-vicregl export runs/photographs {path}")
    typist.say("### What goes wrong")
    for path, code in EXPORTS[backend].items():
        if code:
            typist.type(
                f"keras-vicregl export runs/photographs {path}", code=code
            )
    if backend != "tensorflow":
        typist.type(f"{pretrain} --output runs/host --views on=host", code=1)
        typist.type("keras-vicregl pretrain --data stl10", code=1)
    typist.type("keras-vicregl pretrain photograph", code=2)
    typist.type(f"{pretrain} --alpha 0.5", code=2)


if __name__ == "__main__":
    main()
