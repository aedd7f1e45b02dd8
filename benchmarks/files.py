"""From JPEG files to batches for views on the device, by both engines.

    python benchmarks/files.py            # two minutes
    make bench-views                      # after those of the views

Files of 500 x 375 and 375 x 500 pixels, read from the disk's cache, on all
cores at hand: what tf.data and Python's threads put into batches a second,
beside what decoding alone reaches, and beside PyTorch's DataLoader with Pillow
and one process a core. Contestants take turns; the table has medians over the
rounds. "A core" is by the processor's time, that of child processes too, so
that other work on the machine disturbs it little. What a contestant makes ahead
for its next epoch counts in its own turn, but not in its images a second.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import pathlib
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("OMP_NUM_THREADS", "1")

with contextlib.suppress(ImportError):
    import torch  # before TensorFlow

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.datasets import load_sample_images

from keras_vicregl.data import load, view_batches
from keras_vicregl.data.streams.ahead import in_order, thread_count
from keras_vicregl.views import MultiView

BATCH = 32
SIZES = ((375, 500), (500, 375))
CANVAS = (500, 500)


def write_files(folder, count):
    """Parts of two photographs."""
    rng = np.random.default_rng(0)
    wholes = [
        np.asarray(Image.fromarray(image).resize((1280, 854)))
        for image in load_sample_images().images
    ]
    for number in range(count):
        whole, (height, width) = wholes[number % 2], SIZES[number // 2 % 2]
        y = rng.integers(0, whole.shape[0] - height + 1)
        x = rng.integers(0, whole.shape[1] - width + 1)
        part = Image.fromarray(whole[y : y + height, x : x + width])
        part.save(folder / f"{number:05}.jpg", quality=90)


def decoded(path):
    with open(path, "rb") as file:
        return Image.open(io.BytesIO(file.read())).convert("RGB")


def decode_by_pillow(paths):
    return sum(made.error is None for made in in_order(decoded, paths))


def decode_by_tensorflow(paths):
    images = tf.data.Dataset.from_tensor_slices(paths).map(
        lambda path: tf.shape(
            tf.io.decode_jpeg(
                tf.io.read_file(path), 3, dct_method="INTEGER_ACCURATE"
            )
        ),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return sum(1 for _ in images)


class Engine:
    """Batches of an engine, an epoch each time."""

    def __init__(self, paths, engine):
        self._batches = view_batches(
            load(paths),
            MultiView.resnet(on="device"),
            batch_size=BATCH,
            seed=0,
            canvas=CANVAS,
            engine=engine,
        )

    def __call__(self, paths):
        """One epoch; returns how many images it had."""
        return sum(BATCH for _ in self._batches)


class Files:
    """What a user of PyTorch writes: a map-style data set."""

    def __init__(self, paths):
        self._paths = paths

    def __len__(self):
        return len(self._paths)

    def __getitem__(self, index):
        image = np.asarray(decoded(self._paths[index]))
        canvas = np.zeros((*CANVAS, 3), np.uint8)
        canvas[: image.shape[0], : image.shape[1]] = image
        return canvas


class DataLoader:
    """PyTorch's, with a process a core, which stay."""

    def __init__(self, paths, workers):
        self._loader = torch.utils.data.DataLoader(
            Files(paths),
            batch_size=BATCH,
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            persistent_workers=workers > 0,
        )

    def __call__(self, paths):
        """One epoch; returns how many images it had."""
        return sum(len(batch) for batch in self._loader)


def seconds_used():
    """The processor's time of this process and its children."""
    used = time.process_time()
    for child in multiprocessing.active_children():
        stat = pathlib.Path(f"/proc/{child.pid}/stat")
        if stat.exists():  # Linux
            user, system = stat.read_text().rpartition(")")[2].split()[11:13]
            used += (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
    return used


def wait_until_idle():
    """Until what is made ahead is made."""
    used = None
    while used is None or seconds_used() - used > 0.01:
        used = seconds_used()
        time.sleep(0.2)


def contestants_of(paths):
    cores = thread_count() - 1
    contestants = {
        "decoding alone, Pillow in threads": decode_by_pillow,
        "decoding alone, TensorFlow": decode_by_tensorflow,
        "view_batches, engine='python'": Engine(paths, "python"),
        "view_batches, engine='tensorflow'": Engine(paths, "tensorflow"),
    }
    if "torch" in globals():
        # Before threads are started: its processes are forks.
        name = f"DataLoader and Pillow, {cores} processes"
        first = {name: DataLoader(paths, cores)}
        first[name](paths)
        contestants = first | contestants
    return contestants


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=960)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        write_files(pathlib.Path(folder), arguments.files)
        paths = sorted(map(str, pathlib.Path(folder).iterdir()))
        contestants = contestants_of(paths)
        speeds = {name: [] for name in contestants}
        for turn in range(arguments.rounds + 1):
            for name, contestant in contestants.items():
                start, used = time.perf_counter(), seconds_used()
                done = contestant(paths)
                wall = time.perf_counter() - start
                wait_until_idle()
                if turn:  # the first traces, and fills the disk's cache
                    used = seconds_used() - used
                    speeds[name].append((done / wall, done / used))
    print(f"| {thread_count() - 1} cores | images/s | images/s a core |")
    print("|---|---:|---:|")
    for name, own in speeds.items():
        wall, used = (
            statistics.median(each) for each in zip(*own, strict=True)
        )
        print(f"| {name} | {wall:,.0f} | {used:,.0f} |")


if __name__ == "__main__":
    main()
