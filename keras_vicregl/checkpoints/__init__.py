"""Weights in and out: export of trained backbones."""

from keras_vicregl.checkpoints.export import export_saved_model

__all__ = ["export_saved_model"]
