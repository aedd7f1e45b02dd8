"""What stands between a batch of views and the networks."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import keras
from keras import ops

from keras_vicregl.models.backbones.adapter import (
    channels_come_first,
    feature_map_layers,
    several_inputs,
)
from keras_vicregl.views import MultiView

MISSING_GEOMETRY = (
    "'view_to_source' is missing from the batch: with alpha < 1 the location "
    "criterion needs one affine map (B, 2, 3) a view. Use "
    "keras_vicregl.views.MultiView, make them of boxes and flips by "
    "keras_vicregl.views.numpy_geometry, or local_criteria=('feature',)."
)


def check_views(views: Any) -> MultiView | None:
    """Return `views` if a model can make them."""
    if views is None:
        return None
    if not isinstance(views, MultiView) or views.on != "device":
        raise ValueError(
            "`views` must be a keras_vicregl.views.MultiView with on='device'; "
            f"received {views!r}. Views of on='host' come with the data, and "
            "the model needs no `views`."
        )
    return views


def with_views(inputs: Any, recipe: MultiView | None) -> Any:
    """The batch, with views made on the device where they did not come."""
    if not isinstance(inputs, dict) or "views" in inputs:
        return inputs
    keys = {"images", "parameters"}
    if recipe is None:
        if keys <= inputs.keys():
            raise ValueError(
                "The batch has images and parameters for views made on the "
                "device: pass the MultiView that drew them to the model, "
                "VICRegL(views=...)."
            )
        return inputs
    if not keys <= inputs.keys():
        raise ValueError(
            "A batch must have 'images' and 'parameters', as MultiView with "
            "on='device' and keras_vicregl.data.ArrayBatches make it, or "
            f"'views'; received {_describe(inputs)}."
        )
    return recipe.render(inputs)


def checked_batch(inputs: Any) -> tuple[Sequence[Any], Sequence[Any] | None]:
    """Views and their affine maps (or `None`) from a batch, or an error."""
    if not isinstance(inputs, dict) or "views" not in inputs:
        raise ValueError(
            "A batch must be a dictionary with a tuple of images under "
            "'views', as keras_vicregl.data.view_batches and "
            "keras_vicregl.views.MultiView make it; received "
            f"{_describe(inputs)}. Features of images are what the model's "
            "`backbone` gives."
        )
    views = inputs["views"]
    if not isinstance(views, (list, tuple)) or len(views) < 2:
        raise ValueError(
            "'views' must be a tuple of at least 2 batches of images; "
            f"received {_describe(views)}."
        )
    for view, images in enumerate(views):
        if len(images.shape) != 4:
            raise ValueError(
                f"'views'[{view}] must be a batch of images (B, H, W, C); "
                f"received shape {tuple(images.shape)}."
            )
        if images.shape[-1] != 3 and images.shape[1] == 3:
            raise ValueError(
                f"'views'[{view}] must have its channels last, (B, H, W, 3); "
                f"received shape {tuple(images.shape)}. Of a tensor of PyTorch "
                "images.permute(0, 2, 3, 1) has them there, of an array "
                "np.moveaxis(images, 1, -1)."
            )
    to_source = inputs.get("view_to_source")
    if to_source is not None and len(to_source) != len(views):
        raise ValueError(
            "'view_to_source' must hold one map a view: received "
            f"{len(to_source)} for {len(views)} views."
        )
    return views, to_source


def apply(
    function: Callable[[Any], Any], tensors: Sequence[Any], stack: bool
) -> tuple[Any, ...]:
    """Maps a function over batches, those of one shape in a single call."""
    by_shape: dict[Any, list[int]] = {}
    for index, tensor in enumerate(tensors):
        shape = tuple(tensor.shape[1:])
        alone = not stack or None in shape
        by_shape.setdefault(index if alone else shape, []).append(index)
    results = [None] * len(tensors)
    for indices in by_shape.values():
        batches = [tensors[index] for index in indices]
        if len(batches) == 1:
            results[indices[0]] = function(batches[0])
            continue
        together = function(ops.concatenate(batches, axis=0))
        for index, part in zip(indices, _apart(together, batches), strict=True):
            results[index] = part
    return tuple(results)


def apply_head(
    head: keras.Sequential,
    batches: Sequence[Any],
    training: bool | None,
    stack: bool,
) -> tuple[Any, ...]:
    """What an expander gives for each view.

    Linear layers see the views together, so that the gradient of their large
    weights is one product and not a sum of one a view; each view has its own
    statistics in batch normalisation.

    Args:
        head: from (N, F) to (N, D).
        batches: one (N, F) a view.
        training: whether batch normalisation is in training mode.
        stack: whether statistics, too, are of all views together.
    """
    if stack or not training or len(batches) == 1:
        return apply(lambda x: head(x, training=training), batches, stack)
    x = ops.concatenate(batches, axis=0)
    for layer in head.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            parts = [layer(y, training=training) for y in _apart(x, batches)]
            x = ops.concatenate(parts, axis=0)
        else:
            x = layer(x)
    return _apart(x, batches)


def _apart(x: Any, batches: Sequence[Any]) -> tuple[Any, ...]:
    """Parts of what is concatenated, as long as the batches were."""
    parts, start = [], 0
    for batch in batches:
        stop = start + ops.shape(batch)[0]
        parts.append(x[start:stop])
        start = stop
    return tuple(parts)


def feature_channels(backbone: keras.Model) -> int:
    """Channels of the backbone's feature map, or an error."""
    if not isinstance(backbone, keras.layers.Layer):
        raise ValueError(
            f"`backbone` must be a keras.Model; received {_describe(backbone)}."
        )
    inputs = getattr(backbone, "inputs", None) or ()
    if len(inputs) > 1:
        raise ValueError(f"`backbone` {several_inputs(backbone)}")
    try:
        shape = backbone.output_shape
    except (AttributeError, ValueError):
        shape = backbone.compute_output_shape((None, 64, 64, 3))
    if channels_come_first(backbone):
        raise ValueError(
            f"`backbone` {backbone.name!r} has its channels first; views have "
            "them last. Pass "
            "keras_vicregl.models.backbones.as_backbone(model)."
        )
    if isinstance(shape, tuple) and len(shape) == 4 and shape[-1]:
        return shape[-1]
    layers = feature_map_layers(backbone)
    raise ValueError(
        "`backbone` must yield one 4-D feature map (B, h, w, F), channels "
        f"last; the output of {backbone.name!r} has shape {shape}. "
        + (
            "Pass keras_vicregl.models.backbones.as_backbone(model, "
            f"layer_name), with one of the layers {', '.join(layers)}."
            if layers
            else "Leave out pooling and classification layers."
        )
    )


def check_image_shape(
    model: keras.Model, shape: Sequence[int | None], what: str
) -> None:
    """Raises a ValueError unless a model takes images of a shape.

    Args:
        model: a model, perhaps for images of one size only.
        shape: height, width and channels; None where any will do.
        what: what to call the images in the error.
    """
    try:
        expected = model.input_shape
    except (AttributeError, ValueError):  # no Keras model, or not built
        return
    if not isinstance(expected, tuple) or (len(expected), len(shape)) != (4, 3):
        return
    pairs = zip(expected[1:], shape, strict=True)
    if any(None not in pair and pair[0] != pair[1] for pair in pairs):
        raise ValueError(
            f"The backbone {model.name!r} takes images of "
            f"{_by_sides(expected[1:])} alone. Received: {what} of "
            f"{_by_sides(shape)}. {_advice(expected[3], shape[2])}"
        )


def check_view_shapes(model: keras.Model, views: Any) -> None:
    """Raises a ValueError unless a model takes the views of a `MultiView`.

    Args:
        model: a model.
        views: what makes them; all but a `MultiView` tells nothing.
    """
    if isinstance(views, MultiView):
        for group in views.groups:
            height, width = cast("tuple[int, int]", group.size)
            shape = (height, width, views.channels)
            check_image_shape(model, shape, "views")


def _advice(expected: int | None, channels: int | None) -> str:
    if None in (expected, channels) or expected == channels:
        return (
            f"Build it with input_shape=(None, None, {channels or 3}), which "
            "keras.applications take with include_top=False, or make images "
            "of its size."
        )
    return (
        f"Build it with input_shape=(None, None, {channels}), or give it "
        f"images of {expected} channels."
    )


def _by_sides(shape: Sequence[int | None]) -> str:
    return " x ".join("any" if side is None else str(side) for side in shape)


def has_batch_normalization(model: keras.Model) -> bool:
    """Whether any layer, however deep, takes statistics of a batch."""
    return any(
        isinstance(layer, keras.layers.BatchNormalization)
        for layer in model._flatten_layers()
    )


def _describe(value: Any) -> str:
    if isinstance(value, dict):
        return f"a dictionary with keys {sorted(value)}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    if hasattr(value, "shape"):
        return f"a tensor of shape {tuple(value.shape)}"
    return type(value).__name__
