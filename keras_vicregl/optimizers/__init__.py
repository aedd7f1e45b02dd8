"""Optimizers and the learning-rate schedule of the paper's recipes."""

from keras_vicregl.optimizers.adamw import AdamW
from keras_vicregl.optimizers.lars import LARS
from keras_vicregl.optimizers.schedules import warmup_cosine

__all__ = ["LARS", "AdamW", "warmup_cosine"]
