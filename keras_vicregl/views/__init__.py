"""Views of images, with the geometry that ties them to their source.

In come images, out go views and their affine maps. `geometry` (positions and
maps) is pure `keras.ops` and runs inside models on every backend,
`numpy_geometry` the same for the workers of a loader; `MultiView`
is a recipe of views, and draws its numbers with NumPy (`drawing`). `layers` are
the keras-cv layers, `rendering` makes the views, on host or device. The host's
and the layers build on TensorFlow and keras-cv, which are imported when first
needed. Data, models and recipes stand on it; it stands on nothing here.
"""

import importlib
from typing import TYPE_CHECKING, Any

from keras_vicregl.views import geometry, numpy_geometry
from keras_vicregl.views.geometry import positions
from keras_vicregl.views.multi_view import MultiView
from keras_vicregl.views.view_group import ViewGroup

if TYPE_CHECKING:
    from keras_vicregl.views.layers.crop import (
        RandomHorizontalFlip,
        RandomResizedCrop,
    )
    from keras_vicregl.views.layers.photometric import (
        ColorJitter,
        Normalize,
        RandomGaussianBlur,
        RandomGrayscale,
        RandomSolarize,
    )

_LAYERS = {
    "ColorJitter": "layers.photometric",
    "Normalize": "layers.photometric",
    "RandomGaussianBlur": "layers.photometric",
    "RandomGrayscale": "layers.photometric",
    "RandomHorizontalFlip": "layers.crop",
    "RandomResizedCrop": "layers.crop",
    "RandomSolarize": "layers.photometric",
}

__all__ = [
    "ColorJitter",
    "MultiView",
    "Normalize",
    "RandomGaussianBlur",
    "RandomGrayscale",
    "RandomHorizontalFlip",
    "RandomResizedCrop",
    "RandomSolarize",
    "ViewGroup",
    "geometry",
    "numpy_geometry",
    "positions",
]


if not TYPE_CHECKING:  # to which all names would be known

    def __getattr__(name: str) -> Any:
        """Import the module of a layer when the layer is first used."""
        if name not in _LAYERS:
            raise AttributeError(
                f"module {__name__!r} has no attribute {name!r}"
            )
        module = importlib.import_module(f"{__name__}.{_LAYERS[name]}")
        return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
