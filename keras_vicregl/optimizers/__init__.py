"""Optimizers and learning-rate schedules of the paper's recipes."""

from keras_vicregl.optimizers.adamw import AdamW
from keras_vicregl.optimizers.lars import LARS
from keras_vicregl.optimizers.schedules import (
    WarmupPolynomial,
    warmup_cosine,
)

__all__ = ["LARS", "AdamW", "WarmupPolynomial", "warmup_cosine"]
