"""A small training in many lives: each is killed, and the next continues.

    python lives.py FOLDER PLANS

`PLANS` is JSON: a list of trainings `[name, [plan, ...]]`. A plan is `null` for
a life that lasts to the end of the training, or `[moment, count]`: it ends the
count-th time that the moment comes. The exit codes of the lives, negative
where a signal ended them, are printed as JSON.

A training whose name begins with "raw" is of TIFF files with one channel of 16
bits, in views with gamma and noise.

A life is a fork of a process that has imported everything and used nothing, so
that it is as a new process, without the seconds that imports take.
"""

import functools
import gc
import json
import os
import pathlib
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import contextlib

with contextlib.suppress(ImportError):
    import torch  # noqa: F401, before TensorFlow
import keras
import numpy as np
import tensorflow as tf

sys.path.append(str(pathlib.Path(__file__).parents[1]))
from forked import code_of, start

import keras_vicregl
from keras_vicregl import optimizers
from keras_vicregl.data import load, view_batches
from keras_vicregl.models.backbones.layers import StochasticDepth
from keras_vicregl.training import (
    TrainingInterrupted,
    TrainingLog,
    _callbacks,
    pretrain,
)
from keras_vicregl.views import MultiView

EPOCHS = 3
BATCH = 6
STEPS = 7  # an epoch
SAVE_FREQ = 3


def backbone(channels):
    """Whatever has state: batch norm, dropout and stochastic depth."""
    inputs = keras.Input((8, 8, channels))
    x = keras.layers.Conv2D(8, 3, 2, padding="same")(inputs)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    x = keras.layers.Dropout(0.1, seed=1)(keras.layers.ReLU()(x))
    branch = keras.layers.Conv2D(8, 3, padding="same")(x)
    return keras.Model(inputs, x + StochasticDepth(0.3, seed=2)(branch))


def build(channels):
    keras.utils.set_random_seed(0)
    model = keras_vicregl.VICRegL(
        backbone(channels),
        alpha=1.0,  # the local criterion has no state, and takes time
        expander_units=(8, 6),
        num_classes=3,
    )
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, EPOCHS * STEPS - 3, warmup_target=0.02, warmup_steps=3
    )
    model.compile(
        optimizers.AdamW(
            schedule,
            weight_decay=0.05,
            use_ema=True,
            ema_momentum=0.8,
            gradient_accumulation_steps=2,
        ),
        # Quicker than tracing, for so few steps.
        run_eagerly=keras.backend.backend() == "tensorflow",
    )
    return model


def views(batch):
    """Noisy images, by the seeds of the examples, from an 8 x 8 image."""
    images = tf.cast(batch["images"], tf.float32) / 255
    noise = [
        tf.random.stateless_normal(tf.shape(images), batch["seeds"][0] + view)
        for view in range(2)
    ]
    count = tf.shape(images)[0]
    to_source = tf.constant([[8.0, 0, 0], [0, 8, 0]])
    to_source = tf.tile(to_source[None], (count, 1, 1))
    return {
        "views": tuple(images + 0.1 * part for part in noise),
        "view_to_source": (to_source, to_source),
        "source_size": tf.tile([[8.0, 8.0]], (count, 1)),
        "labels": batch["labels"],
    }


def images(steps):
    """Of so many batches, and two more."""
    rng = np.random.default_rng(0)
    count = BATCH * steps + 2
    return {
        "images": rng.integers(0, 256, (count, 8, 8, 3), dtype="uint8"),
        "labels": rng.integers(0, 3, count).astype("int32"),
    }


def write_raw_images(folder):
    """TIFF files in a folder a class, 12 bits of 16."""
    import tifffile

    rng = np.random.default_rng(0)
    for number in range(BATCH * STEPS + 2):
        path = folder / str(number % 3) / f"{number}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 4096, (10, 12)).astype("uint16")
        tifffile.imwrite(path, pixels)


def raw_batches(folder, start):
    views = MultiView.for_channels(
        1, size=8, value_range=(0, 4095), blur=(0.0,), jit_compile=False
    )
    return view_batches(
        load(folder), views, batch_size=BATCH, seed=3, start=start
    )


def batches(start):
    return view_batches(
        images(STEPS), views, batch_size=BATCH, seed=3, start=start
    )


class Death:
    """Ends the process the count-th time that a moment comes."""

    def __init__(self, moment, count):
        self.moment = moment
        self.left = count
        self._replace = os.replace
        os.replace = self.replace
        self._write_array = np.lib.format.write_array
        np.lib.format.write_array = self.write_array
        self._append = TrainingLog._append
        TrainingLog._append = lambda *arguments: self.append(*arguments)

    def comes(self, moment):
        if moment != self.moment:
            return
        self.left -= 1
        if self.left:
            return
        if moment == "error":
            raise RuntimeError("an error of one process")
        wish = moment == "wish"
        os.kill(os.getpid(), signal.SIGTERM if wish else signal.SIGKILL)

    def replace(self, source, target):
        """Before and after a checkpoint gets its name."""
        checkpoint = str(target).endswith(".npz")
        if checkpoint:
            self.comes("unnamed checkpoint")
        self._replace(source, target)
        if checkpoint:
            self.comes("new checkpoint")

    def write_array(self, *arguments, **keywords):
        """While a checkpoint is written."""
        self.comes("array")
        self._write_array(*arguments, **keywords)

    def append(self, log, name, row):
        """After a row is in the log."""
        self._append(log, name, row)
        if name != "events.jsonl":
            self.comes("row")


def deaths(plan):
    """Callbacks of a life with a plan; pictures are left out of it."""
    _callbacks.Curves.draw = lambda self: None  # takes a second
    if plan is None:
        return []
    death = Death(*plan)
    return [
        keras.callbacks.LambdaCallback(
            on_train_batch_begin=lambda batch, logs: (
                death.comes("step"),
                death.comes("wish"),
                death.comes("error"),
            )
        )
    ]


def live(folder, plan):
    """One life; returns its exit code, if it gets that far."""
    callbacks = deaths(plan)
    raw = folder.name.startswith("raw")
    model = build(1 if raw else 3)
    files = folder.with_name("files")
    try:
        pretrain(
            model,
            functools.partial(raw_batches, files) if raw else batches,
            epochs=EPOCHS,
            output=folder,
            save_freq=SAVE_FREQ,
            log_every=2,
            callbacks=callbacks,
            verbose=0,
        )
    except TrainingInterrupted as interruption:
        return interruption.exit_code
    np.savez(
        folder / "final.npz",
        *(keras.ops.convert_to_numpy(v) for v in model.variables),
    )
    return 0


def main():
    folder = pathlib.Path(sys.argv[1])
    write_raw_images(folder / "files")
    gc.freeze()  # not for collections of forks
    codes = {
        name: [
            code_of(start(functools.partial(live, folder / name, plan)))
            for plan in plans
        ]
        for name, plans in json.loads(sys.argv[2])
    }
    print(json.dumps(codes))


if __name__ == "__main__":
    main()
