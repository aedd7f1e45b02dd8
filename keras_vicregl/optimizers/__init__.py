"""Optimizers and learning-rate schedules of the paper's recipes.

Keras' own interfaces, in and out. Stands on Keras alone; recipes and
evaluation use it.
"""

from keras_vicregl.optimizers.adamw import AdamW
from keras_vicregl.optimizers.lars import LARS
from keras_vicregl.optimizers.schedules import WarmupPolynomial, warmup_cosine

__all__ = ["LARS", "AdamW", "WarmupPolynomial", "warmup_cosine"]
