"""What the layers that make views share: input checks, draws and geometry."""

import random
from typing import Any

from keras_cv.layers import VectorizedBaseImageAugmentationLayer

from keras_vicregl._tensorflow import tf
from keras_vicregl.views._checks import check_count, check_integer
from keras_vicregl.views.drawing import stateless
from keras_vicregl.views.keys import (
    IMAGES,
    MASKS,
    SEEDS,
    SOURCE_SIZE,
    VIEW_TO_SOURCE,
)
from keras_vicregl.views.pixels.tensors import shape_of
from keras_vicregl.views.values import ValueRange


class ViewLayer(VectorizedBaseImageAugmentationLayer):
    """Base of the layers that make views.

    It differs from keras-cv's base layer in that

    - a subclass implements `augment(inputs, keys)`, from one dictionary of
      batched tensors to another, so that geometry can leave the layer;
    - every draw is keyed by the example: by its entry of the key `"seeds"`
      where there is one, else by a seed from the layer's own generator;
    - images are checked, labels and masks keep their dtype, the results are
      float32 whatever the dtype policy, and `seed=0` is a seed as any other.

    Args:
        seed: integer, seed of the layer's own generator, which is used for
            batches that come without `"seeds"`. None takes one that
            `keras.utils.set_random_seed` controls.
        stream: integer, tells layers of one class apart: two of them draw
            alike from the same `"seeds"` unless their streams differ.
        channels: number of channels C of the images.
        **kwargs: arguments of `keras.layers.Layer`.
    """

    # What becomes pixels in [0, 255]; None: the images are such.
    value_range: ValueRange | None = None

    def __init__(
        self,
        *,
        seed: int | None = None,
        stream: int = 0,
        channels: int = 3,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.channels = check_count("channels", channels)
        self.seed = None if seed is None else check_integer("seed", seed)
        self.stream = check_integer("stream", stream)
        self._random_generator: Any = None
        # There are no weights: Keras must not trace the layer to make them.
        self.built = True

    def augment(
        self, inputs: dict[str, tf.Tensor], keys: tf.Tensor
    ) -> dict[str, Any]:
        """Augment a batch.

        Args:
            inputs: dictionary of batched tensors, among them `"images"`,
                (B, H, W, C) uint8 or float32 in [0, 255].
            keys: (B,) uint64, the examples' keys for this layer's draws.

        Returns:
            The dictionary of results; what the layer does not touch is kept.
        """
        raise NotImplementedError

    def keys_of_layer(self, keys: tf.Tensor) -> tf.Tensor:
        """Keys (B,) of this layer's own stream for examples with `keys`."""
        return stateless.fold(keys, f"{type(self).__name__}/{self.stream}")

    def call(self, inputs: Any) -> Any:
        """Augment images or a dictionary of them, batched or single."""
        if isinstance(inputs, dict):
            # Some of keras-cv's layers (Resizing) return None under the keys
            # that they were not given.
            inputs = {k: v for k, v in inputs.items() if v is not None}
        return super().call(inputs)

    def get_config(self) -> dict[str, Any]:
        """Arguments that make this layer again."""
        return {
            **super().get_config(),
            "seed": self.seed,
            "stream": self.stream,
            # Of RGB, configurations are those of before there were others.
            **({} if self.channels == 3 else {"channels": self.channels}),
        }

    def _batch_augment(self, inputs: dict[str, tf.Tensor]) -> dict[str, Any]:
        keys = stateless.example_keys(self._seeds_of(inputs))
        return self.augment(inputs, self.keys_of_layer(keys))

    def _seeds_of(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        if SEEDS in inputs:
            return inputs[SEEDS]
        if self._random_generator is None:
            self._random_generator = _new_generator(self.seed)
        shape = (tf.shape(inputs[IMAGES])[0], 2)
        return self._random_generator.uniform_full_int(shape, tf.int64)

    def _ensure_inputs_are_compute_dtype(self, inputs: Any) -> Any:
        # keras-cv's hook for what comes in, before it tells batches from single
        # examples. Its own casts labels and masks to floating point.
        if not isinstance(inputs, dict):
            return self._checked_images(inputs, may_be_dark=False)
        if IMAGES not in inputs:
            raise ValueError(
                f"the input dictionary must have the key {IMAGES!r}. Got the "
                f"keys {sorted(inputs)}."
            )
        # Within a chain of layers a crop may be nearly black; only at its
        # beginning do small values betray images in [0, 1].
        images = self._checked_images(
            inputs[IMAGES], may_be_dark=VIEW_TO_SOURCE in inputs
        )
        inputs = {**tf.nest.map_structure(_as_tensor, inputs), IMAGES: images}
        if SEEDS in inputs:
            inputs[SEEDS] = _checked_seeds(inputs[SEEDS], images)
        return inputs

    def _checked_images(self, images: Any, *, may_be_dark: bool) -> tf.Tensor:
        if isinstance(images, tf.RaggedTensor):
            raise ValueError(
                "images of different sizes (a RaggedTensor) are not supported: "
                "make views of single images, before batching."
            )
        images = tf.convert_to_tensor(images)
        shape, channels = images.shape, self.channels
        if shape.rank not in (3, 4) or shape[-1] != channels:
            raise ValueError(
                f"images must have shape (height, width, {channels}) or "
                f"(batch, height, width, {channels}). Got shape {shape}"
                f"{_advice_on_shape(shape, channels)}."
            )
        if self.value_range is not None:
            return _checked_values(images)
        return _checked_pixels(images, may_be_dark=may_be_dark)


def with_geometry(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Return the batch with its maps to the source, started where absent.

    Adds `"view_to_source"` (B, 2, 3), the identity of the images in hand, and
    their `"source_size"` (B, 2), both float32.
    """
    _refuse_untracked_geometry(inputs)
    _check_masks(inputs)
    if VIEW_TO_SOURCE in inputs:
        if inputs[VIEW_TO_SOURCE].shape[1:] != (2, 3):
            raise ValueError(
                f"{VIEW_TO_SOURCE!r} must hold one (2, 3) map an image. Got "
                f"{inputs[VIEW_TO_SOURCE].shape[1:]} an image."
            )
        return inputs
    batch, height, width, _ = shape_of(inputs[IMAGES])
    size = tf.cast(tf.stack([height, width]), tf.float32)
    identity = tf.reverse(tf.linalg.diag(size), axis=[0, 1])
    identity = tf.pad(identity, [[0, 0], [0, 1]])
    return {
        **inputs,
        VIEW_TO_SOURCE: tf.tile(identity[None], [batch, 1, 1]),
        SOURCE_SIZE: tf.tile(size[None], [batch, 1]),
    }


def _new_generator(seed: int | None) -> tf.random.Generator:
    if seed is None:
        seed = random.randint(0, 2**31 - 1)
    # Lifted out of the function that tf.data traces: it holds a variable.
    with tf.init_scope():
        return tf.random.Generator.from_seed(seed)


def _as_tensor(value: Any) -> Any:
    return value if tf.is_tensor(value) else tf.convert_to_tensor(value)


def _advice_on_shape(shape: tf.TensorShape, channels: int) -> str:
    if shape.rank in (3, 4) and shape[-3] == channels:
        return ": move the channels to the end, np.moveaxis(images, -3, -1)"
    if shape.rank == 4 or (shape.rank == 3 and (shape[-1] or 99) <= 16):
        return f". For images of {shape[-1]} channels pass channels={shape[-1]}"
    if channels == 1 and shape.rank in (2, 3):
        return ": give them an axis of channels, images[..., None]"
    return ""


def _checked_pixels(images: tf.Tensor, *, may_be_dark: bool) -> tf.Tensor:
    """Images in [0, 255]."""
    if images.dtype == tf.uint8:
        return images
    if not images.dtype.is_floating:
        raise ValueError(
            "images must be uint8, or floating point in [0, 255]. Got dtype "
            f"{images.dtype.name}: cast them to uint8, or have a MultiView map "
            "them to [0, 255] by its value_range=(low, high)."
        )
    images = tf.cast(images, tf.float32)
    # A comparison with NaN is false, so this finds non-finite values too.
    _require(
        tf.reduce_all((images >= 0.0) & (images <= 255.0)),
        "images must be finite and in [0, 255]. Got values outside: scale them "
        "to [0, 255], and normalise after all other layers. (MultiView takes "
        "the range of other values as value_range.)",
    )
    if not may_be_dark:
        brightest = tf.reduce_max(images)
        _require(
            (brightest > 1.0) | (brightest <= 0.0),
            "images must be in [0, 255], but no value exceeds 1: they look "
            "like images in [0, 1]. Multiply them by 255, or pass "
            "value_range=(0, 1) to MultiView. (Images that really are that "
            "dark pass as uint8.)",
        )
    return images


def _checked_values(images: tf.Tensor) -> tf.Tensor:
    """Images of any values, which a range makes pixels of."""
    if images.dtype in (tf.uint8, tf.uint16):
        return images
    if not images.dtype.is_floating:
        raise ValueError(
            "images must be uint8, uint16 or floating point. Got dtype "
            f"{images.dtype.name}: cast them to float32."
        )
    images = tf.cast(images, tf.float32)
    _require(
        tf.reduce_all(tf.math.is_finite(images)),
        "images must be finite. Got NaN or infinite values: replace them, as "
        "np.nan_to_num does, or leave these images out.",
    )
    return images


def _require(condition: tf.Tensor, message: str) -> None:
    if not tf.executing_eagerly():
        tf.debugging.Assert(condition, [message])
    elif not condition:
        raise ValueError(message)


def _checked_seeds(seeds: Any, images: tf.Tensor) -> tf.Tensor:
    seeds = tf.convert_to_tensor(seeds)
    rank = images.shape.rank - 2
    if (
        seeds.dtype not in (tf.int32, tf.int64)
        or seeds.shape.rank != rank
        or seeds.shape[-1] != 2
    ):
        wanted = "(2,)" if rank == 1 else "(batch, 2)"
        raise ValueError(
            f"{SEEDS!r} must be int32 or int64 of shape {wanted}, two numbers "
            f"an example. Got {seeds.dtype.name} of shape {seeds.shape}."
        )
    return seeds


def _refuse_untracked_geometry(inputs: dict[str, tf.Tensor]) -> None:
    for key in ("bounding_boxes", "keypoints"):
        if key in inputs:
            raise ValueError(
                f"{key!r} would not follow the crop or flip: remove the key. "
                f"{VIEW_TO_SOURCE!r} maps points of a view to its source."
            )


def _check_masks(inputs: dict[str, tf.Tensor]) -> None:
    if MASKS not in inputs:
        return
    images, masks = inputs[IMAGES].shape, inputs[MASKS].shape
    if masks.rank != 4 or not images[1:3].is_compatible_with(masks[1:3]):
        raise ValueError(
            f"{MASKS!r} must have the images' height and width and an axis of "
            f"channels, (height, width, 1). Got masks of shape {masks[1:]} "
            f"for images of shape {images[1:]}."
        )
