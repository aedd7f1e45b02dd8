"""Baselines of `evaluate`: networks by name, for the channels of the images."""

import argparse
import shutil

import numpy as np
import pytest

from keras_vicregl import backbone
from keras_vicregl.checkpoints import save_checkpoint
from keras_vicregl.commands.evaluating.running import named_model
from keras_vicregl.commands.main import main


def named(channels, weights=None):
    settings = argparse.Namespace(model="small_resnet", weights=weights)
    return named_model(settings, channels)


@pytest.mark.parametrize("channels", [None, 1, 3, 13])
def test_random_weights_for_any_channels(channels):
    assert named(channels).input_shape[-1] == (channels or 3)


def test_weights_of_rgb_for_other_channels(tmp_path, capsys):
    pytest.importorskip("torch")
    model = backbone("small_resnet")
    save_checkpoint(model, tmp_path / "model.pth")
    found = named(2, str(tmp_path / "model.pth"))
    assert "the mean of the weights" in capsys.readouterr().out
    kernel, expected = (m.get_weights()[0] for m in (found, model))
    # Two channels of the same values give what three gave.
    expected = expected.mean(axis=2, keepdims=True) * 3 / 2
    # Sums of three in float32, of which some nearly cancel.
    np.testing.assert_allclose(kernel[:, :, :1], expected, rtol=0, atol=1e-7)


def test_a_baseline_on_images_of_16_bits(tmp_path, capsys):
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    for name, high in (("dark", 900), ("light", 4000)):
        (folder / "train" / name).mkdir(parents=True)
        for number in range(3):
            image = rng.integers(0, high, (16, 16, 1)).astype("uint16")
            np.save(folder / "train" / name / f"{number}.npy", image)
    shutil.copytree(folder / "train", folder / "test")
    options = ["--protocols", "knn", "--options", "knn.k=1"]
    assert main(["evaluate", "small_resnet", str(folder), *options]) == 0
    said = capsys.readouterr().out
    assert "1 channel of uint16: " in said
    assert "--value-range LOW HIGH says others" in said
    # Each image is its own nearest neighbour.
    assert said.split()[-3:] == ["knn", "top1", "1.0000"]
