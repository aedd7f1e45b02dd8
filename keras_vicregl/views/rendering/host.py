"""What `MultiView` does with tensors of TensorFlow."""

import functools
from typing import TYPE_CHECKING, Any, cast

from keras_vicregl._tensorflow import tf
from keras_vicregl.views.drawing.parameters import SharedOptions, draw_groups
from keras_vicregl.views.keys import (
    IMAGES,
    LABELS,
    MASKS,
    PARAMETERS,
    SEEDS,
    SOURCE_SIZE,
    VIEW_MASKS,
    VIEW_TO_SOURCE,
    VIEWS,
)
from keras_vicregl.views.layers.base import ViewLayer, with_geometry
from keras_vicregl.views.pixels.resize import resize_nearest
from keras_vicregl.views.pixels.tracing import traced
from keras_vicregl.views.rendering import fused
from keras_vicregl.views.rendering.faithful import FaithfulChain

if TYPE_CHECKING:
    from keras_vicregl.views.multi_view import MultiView


class HostViews(ViewLayer):
    """The keras-cv layer behind a `MultiView`.

    Args:
        recipe: what the views are.
    """

    def __init__(self, recipe: "MultiView") -> None:
        super().__init__(
            seed=recipe.seed, stream=recipe.stream, channels=recipe.channels
        )
        self._recipe = recipe
        self.value_range = recipe.value_range
        self._renderings = recipe.renderings()
        self._faithful = FaithfulChain(recipe) if recipe.faithful else None
        self._draw = _drawing(recipe.groups, recipe.shared_options())

    def keys_of_layer(self, keys: tf.Tensor) -> tf.Tensor:
        """Keys (B,) of the recipe's own stream."""
        return self._recipe.keys_of(keys)

    def augment(
        self, inputs: dict[str, tf.Tensor], keys: tf.Tensor
    ) -> dict[str, Any]:
        """Make all views, or what a model makes them by."""
        recipe = self._recipe
        self._check(inputs)
        inputs = with_geometry(inputs)
        images = inputs[IMAGES]
        groups = self._draw(keys, tf.shape(images)[1:3], inputs[VIEW_TO_SOURCE])
        kept = {
            key: value
            for key, value in inputs.items()
            if key not in (IMAGES, MASKS, SEEDS, VIEW_TO_SOURCE)
        }
        if recipe.on == "device":
            return {**kept, IMAGES: images, PARAMETERS: groups}
        if self._faithful:
            views = self._faithful.views_of(images, keys)
        else:
            render = _rendering(self._renderings, tuple(images.shape[1:]))
            views = render(images, groups)
        outputs = {
            **kept,
            VIEWS: views,
            VIEW_TO_SOURCE: _a_view_each(groups, VIEW_TO_SOURCE),
        }
        if recipe.return_masks:
            masks = _labels(inputs[MASKS])
            outputs[VIEW_MASKS] = tuple(
                mask
                for parameters, group in zip(groups, recipe.groups, strict=True)
                for mask in _masks(
                    masks,
                    parameters,
                    cast("tuple[int, int]", group.size),
                )
            )
        return outputs

    def _check(self, inputs: dict[str, tf.Tensor]) -> None:
        recipe = self._recipe
        if recipe.return_masks and MASKS not in inputs:
            raise ValueError(
                f"return_masks=True needs the key {MASKS!r}. Got the keys "
                f"{sorted(inputs)}."
            )
        if VIEW_TO_SOURCE in inputs and SOURCE_SIZE not in inputs:
            raise ValueError(
                f"{VIEW_TO_SOURCE!r} came without {SOURCE_SIZE!r}, the height "
                "and width of the images it leads to: give both or neither."
            )
        if recipe.on == "device":
            images = inputs[IMAGES]
            if recipe.value_range is None and images.dtype != tf.uint8:
                raise ValueError(
                    "on='device' takes uint8 images, a quarter of the bytes "
                    f"to transfer. Got {images.dtype.name}: cast them to "
                    "uint8, or pass value_range, the range of their values."
                )
            if not images.shape[1:].is_fully_defined():
                raise ValueError(
                    "on='device' needs images of one size, known in advance: "
                    "programs for accelerators have static shapes. Got images "
                    f"of shape {images.shape[1:]}: resize them, or make the "
                    "views on the host."
                )

    def _format_output(
        self, output: dict[str, Any], metadata: dict[str, Any]
    ) -> dict[str, Any]:
        # keras-cv's own can neither unbatch a tuple nor return a dictionary for
        # a tensor.
        if not metadata["batched"]:
            output = tf.nest.map_structure(
                lambda value: tf.squeeze(value, axis=0), output
            )
        if metadata["use_targets"]:
            output["targets"] = output.pop(LABELS)
        return output


# Tracing takes seconds: layers of the same recipe share what was traced. One
# size of images does not change what is traced for another.
@functools.lru_cache(maxsize=64)
def _drawing(groups: tuple, options: SharedOptions) -> Any:
    return traced(
        functools.partial(draw_groups, groups=groups, options=options)
    )


@functools.lru_cache(maxsize=64)
def _rendering(
    renderings: tuple[fused.Rendering, ...], image_shape: tuple
) -> Any:
    def views_of(images: tf.Tensor, groups: tuple) -> tuple:
        images = tf.ensure_shape(images, (None, *image_shape))
        views = ()
        for parameters, how in zip(groups, renderings, strict=True):
            views += fused.render(images, parameters, how)
        return views

    return traced(views_of)


def _a_view_each(groups: tuple, key: str) -> tuple[tf.Tensor, ...]:
    return tuple(
        values for group in groups for values in tf.unstack(group[key], axis=1)
    )


def _labels(masks: tf.Tensor) -> tf.Tensor:
    """Masks, of whatever dtype, whose labels uint8 can hold.

    Raises:
        ValueError: if they are no integers, or are beyond 0 to 255 - within a
            graph an error of TensorFlow.
    """
    if masks.dtype in (tf.uint8, tf.bool):
        return masks
    what = f"{MASKS!r} must be labels of 0 to 255, integers"
    if not masks.dtype.is_integer:
        raise ValueError(f"{what}. Got {masks.dtype.name}.")
    wide = tf.cast(masks, tf.int64)
    beyond = tf.reduce_any((wide < 0) | (wide > 255))
    if tf.executing_eagerly():
        if beyond:
            raise ValueError(f"{what}. Got others, of {masks.dtype.name}.")
        return masks
    with tf.control_dependencies([tf.debugging.Assert(~beyond, [what])]):
        return tf.identity(masks)


def _masks(
    masks: tf.Tensor, parameters: dict[str, tf.Tensor], size: tuple[int, int]
) -> list[tf.Tensor]:
    boxes = tf.unstack(tf.cast(parameters["boxes"], tf.int32), axis=1)
    flips = tf.unstack(parameters["flips"] > 0, axis=1)
    return [
        tf.cast(resize_nearest(masks, box, flip, *size), tf.uint8)
        for box, flip in zip(boxes, flips, strict=True)
    ]
