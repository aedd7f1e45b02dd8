"""Pretrain a backbone on the images of a folder.

    keras-vicregl pretrain photographs/

Stopped, killed or out of power, the same command goes on where it was.
Exit codes: 0 done, 1 an error, 2 arguments, 130 and 143 Ctrl-C and SIGTERM.
"""

from __future__ import annotations

import argparse
import os

from keras_vicregl.commands.pretraining import arguments as options
from keras_vicregl.commands.starting import start

SUMMARY = "a backbone, without labels, on a folder of images"
USAGE = "%(prog)s FOLDER [options]"

add_arguments = options.add_arguments


def run(arguments: argparse.Namespace) -> int:
    """Trains, and exports what comes of it."""
    settings = options.settled(arguments)
    if settings.deterministic:
        # Read when TensorFlow is imported.
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    settings.backend = start(settings.backend, torch=True)
    from keras_vicregl.commands.pretraining.running import train

    return train(settings)
