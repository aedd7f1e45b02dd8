"""Backbones with known features, and data for them."""

import keras
import numpy as np


def identity_backbone(channels=3):
    """The image is the feature map."""
    return keras.Sequential(
        [keras.Input((None, None, channels)), keras.layers.Identity()]
    )


def averaging_backbone(stride=4):
    """Features are mean colours of blocks."""
    return keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.AveragePooling2D(stride),
        ]
    )


def block_means(images, stride=4):
    """What `averaging_backbone` gives, in float64."""
    n, h, w, c = images.shape
    blocks = images.astype(np.float64).reshape(
        n, h // stride, stride, w // stride, stride, c
    )
    return blocks.mean(axis=(2, 4))


def gaussian_clusters(count, *, features=12, classes=7, spread=1.5, seed=0):
    """Overlapping Gaussian classes whose features differ much in scale.

    Returns:
        (count, features) float32 and (count,) labels.
    """
    centres = np.random.default_rng(99).standard_normal((classes, features))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    noise = spread * rng.standard_normal((count, features))
    scales = np.geomspace(0.01, 10, features)
    values = (centres[labels] + noise) * scales + 3 * scales
    return values.astype(np.float32), labels
