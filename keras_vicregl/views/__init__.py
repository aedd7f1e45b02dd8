"""Views of images, with the geometry that ties them to their source.

The geometry (`positions` and the affine maps) is pure `keras.ops` and runs
inside models on every backend; `MultiView` is a recipe, and draws its numbers
with NumPy. Making views on the host, and the single layers, build on TensorFlow
and keras-cv, which are imported when first needed.
"""

import importlib
from typing import Any

from keras_vicregl.views import geometry
from keras_vicregl.views.geometry import positions
from keras_vicregl.views.multi_view import MultiView
from keras_vicregl.views.view_group import ViewGroup

_LAYERS = {
    "ColorJitter": "photometric",
    "Normalize": "photometric",
    "RandomGaussianBlur": "photometric",
    "RandomGrayscale": "photometric",
    "RandomHorizontalFlip": "crop",
    "RandomResizedCrop": "crop",
    "RandomSolarize": "photometric",
}

__all__ = ["MultiView", "ViewGroup", "geometry", "positions", *_LAYERS]


def __getattr__(name: str) -> Any:
    """Import the module of a layer when the layer is first used."""
    if name not in _LAYERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"{__name__}.{_LAYERS[name]}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
