"""The published models as graphs only, each built once."""

import functools

import seeded_weights

from keras_vicregl.models import backbones


@functools.cache
def without_weights(name):
    """The backbone of this name; its variables have no values."""
    with seeded_weights.no_weights():
        return backbones.backbone(name)
