"""TensorFlow keeps off GPUs where Keras runs on another backend."""

import ast
import logging
import os
import pathlib
import subprocess
import sys
import textwrap
import types

import keras
import pytest

import keras_vicregl
from keras_vicregl._tensorflow import hide_gpus

ROOT = pathlib.Path(keras_vicregl.__file__).parent


def config(gpus, initialized=False):
    """What `tf.config` answers on a machine with so many GPUs."""
    there = types.SimpleNamespace(visible=[f"GPU:{i}" for i in range(gpus)])

    def hide(devices, kind):
        assert kind == "GPU"
        if initialized:
            raise RuntimeError("Visible devices cannot be modified after")
        there.visible = devices

    there.list_physical_devices = lambda kind: [kind] * gpus
    there.list_logical_devices = lambda kind: there.visible
    there.set_visible_devices = hide
    return there


def test_gpus_are_hidden_and_the_log_says_so(caplog):
    there = config(2)
    with caplog.at_level(logging.INFO, "keras_vicregl"):
        hide_gpus(there)
    assert there.visible == []
    assert "hidden from TensorFlow" in caplog.text


def test_without_gpus_nothing_is_said(caplog, recwarn):
    with caplog.at_level(logging.INFO, "keras_vicregl"):
        hide_gpus(config(0))
    assert not caplog.text and not len(recwarn)


def test_a_tensorflow_that_has_them_already_is_told_of():
    with pytest.warns(UserWarning, match=r"holds 2 GPU\(s\).*set_visible"):
        hide_gpus(config(2, initialized=True))


def test_one_that_was_made_to_see_none_is_fine(recwarn):
    there = config(2, initialized=True)
    there.visible = []
    hide_gpus(there)
    assert not len(recwarn)


def test_all_of_the_package_has_it_from_one_place():
    direct = []
    for path in ROOT.rglob("*.py"):
        tree = ast.parse(path.read_text())
        ignored = {
            id(node)
            for block in ast.walk(tree)
            if isinstance(block, ast.If)
            and getattr(block.test, "id", None) == "TYPE_CHECKING"
            for node in ast.walk(block)
        }
        direct += [
            path.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import) and id(node) not in ignored
            for name in node.names
            if name.name in ("tensorflow", "tensorflow_datasets")
        ]
    assert set(direct) == {"_tensorflow.py"}


@pytest.mark.skipif(
    keras.backend.backend() == "tensorflow", reason="of other backends"
)
def test_it_is_asked_before_the_first_tensor():
    # A folder, views on the host, and features: whatever is used first.
    program = """
        import tensorflow as tf
        from tensorflow.python.eager import context

        hidden = []
        asked = tf.config.list_physical_devices
        tf.config.list_physical_devices = (
            lambda kind=None: ["a GPU"] if kind == "GPU" else asked(kind)
        )

        def hide(devices, kind):
            assert not context.context()._initialized
            hidden.append((devices, kind))

        tf.config.set_visible_devices = hide
        import numpy as np
        from keras_vicregl.data import load, view_batches
        from keras_vicregl.views import MultiView

        images = load(np.zeros((4, 32, 32, 3), "uint8"))
        views = MultiView.scenes(16)
        next(iter(view_batches(images, views, batch_size=2, seed=0)))
        assert hidden == [([], "GPU")], hidden
        print("hidden")
    """
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.stdout.strip().endswith("hidden"), found.stderr[-2000:]


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow",
    reason="a process of PyTorch, the same in each run",
)
def test_without_tensorflow_one_sentence_says_what_for():
    program = """
        import sys

        sys.modules["tensorflow"] = None
        try:
            from keras_vicregl._tensorflow import tf
        except ModuleNotFoundError as error:
            assert error.name == "tensorflow", error.name
            print(error)
    """
    found = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KERAS_BACKEND": "torch"},
    )
    assert "pip install tensorflow" in found.stdout, found.stderr[-2000:]
