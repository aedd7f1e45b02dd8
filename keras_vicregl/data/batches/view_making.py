"""From groups of examples (see `data.streams.epochs`) to batches of views."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from keras_vicregl.data.boxes import without_boxes
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.data.streams.failures import full_batch
from keras_vicregl.views.keys import IMAGES, MASKS, SEEDS

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf

    from keras_vicregl.data.streams.epochs import Plan
    from keras_vicregl.views import MultiView

MultiViewLike = Callable[[dict[str, Any]], dict[str, Any]]


def batches_of_views(
    groups: tf.data.Dataset,
    source: ImageSource,
    multi_view: MultiViewLike,
    plan: Plan,
    shapes: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> tf.data.Dataset:
    """Batches of what `multi_view` returns.

    Args:
        groups: Pairs of a group and facts about it, as `epochs.epochs` has
            them.
        source: Where the groups are from.
        multi_view: See `view_batches`.
        plan: How groups were made.
        shapes: To which examples that `multi_view` returns are padded, from
            their spec. None: they are not.

    Returns:
        Pairs of a batch and the facts that came with its group.
    """
    from keras_vicregl._tensorflow import tf
    from keras_vicregl.views import MultiView

    parallel = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}
    # Classes derived from it may depend on more than their settings.
    if source._is_batched and type(multi_view) is MultiView:
        make = _maker(source, _traced_once(multi_view))
    else:
        make = _maker(source, multi_view)
    if source._is_batched:
        return groups.map(
            lambda group, facts: (make(facts["view_seed"], *group), facts),
            **parallel,
        )
    if isinstance(groups.element_spec[0], tf.data.DatasetSpec):

        def batch_of(window: tf.data.Dataset, seed: tf.Tensor) -> Any:
            views = window.map(
                lambda index, element: make(seed, index, element), **parallel
            )
            if shapes is None:
                return views.batch(plan.share, plan.drop_remainder)
            return views.padded_batch(
                plan.share,
                shapes(views.element_spec),
                drop_remainder=plan.drop_remainder,
            )

        return _two_at_a_time(groups, batch_of)

    whole = _maker(source, multi_view, decode_whole=True)
    zero = tf.constant(0, tf.int64)
    failures = source._failures(
        lambda index, element: whole(zero, index, element),
        groups.element_spec[0][1],
    )
    size = plan.share if plan.drop_remainder else None

    def full_batch_of(group: Any, seed: tf.Tensor) -> tf.data.Dataset:
        return full_batch(
            group,
            lambda index, element: make(seed, index, element),
            failures,
            size,
            shapes,
        )

    batches = _two_at_a_time(groups, full_batch_of)

    def tell(batch: Any, facts: dict) -> tuple[Any, dict]:
        tf.cond(
            facts["last"],
            lambda: tf.numpy_function(failures.tell, [], tf.int64),
            lambda: zero,
        )
        return batch, facts

    return batches.map(tell)


def _traced_once(multi_view: MultiView) -> MultiViewLike:
    """A layer as a single operation, which calls what has been traced.

    An iterator optimises and instantiates all functions of its graph anew. For
    those of views this takes a second, in each epoch; a function that Python
    calls is kept, for all layers of the same settings. A call costs less than a
    millisecond, so this is for whole batches.
    """
    from keras_vicregl._tensorflow import tf

    recipe = _Recipe(multi_view)

    def flat(values: Any) -> list[Any]:
        return tf.nest.flatten(values, expand_composites=True)

    def views_of(example: dict[str, tf.Tensor]) -> Any:
        spec = tf.nest.map_structure(tf.type_spec_from_value, example)
        with tf.init_scope(), tf.device("cpu"):
            function = _traced(recipe).get_concrete_function(spec)

        def call(*arrays: np.ndarray) -> list[np.ndarray]:
            try:
                # What calls this has no device of its own.
                with tf.device("cpu"):
                    given = map(tf.convert_to_tensor, arrays)
                    views = function(
                        tf.nest.pack_sequence_as(
                            spec, list(given), expand_composites=True
                        )
                    )
            except tf.errors.OpError as error:
                raise ValueError(error.message) from error
            return [each.numpy() for each in flat(views)]

        made = flat(function.structured_outputs)
        views = tf.numpy_function(
            call, flat(example), [each.dtype for each in made], stateful=False
        )
        return tf.nest.pack_sequence_as(
            function.structured_outputs,
            [
                tf.ensure_shape(values, each.shape)
                for values, each in zip(views, made, strict=True)
            ],
            expand_composites=True,
        )

    return views_of


class _Recipe:
    """A layer that is equal to all of the same settings."""

    def __init__(self, multi_view: MultiView) -> None:
        self.multi_view = multi_view
        settings = {**multi_view.get_config(), "name": None}
        self._settings = json.dumps(settings, sort_keys=True, default=repr)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, type(self)) and self._settings == other._settings
        )

    def __hash__(self) -> int:
        return hash(self._settings)


@functools.lru_cache(maxsize=32)
def _traced(recipe: _Recipe) -> Any:
    """A recipe as a function of TensorFlow, traced for each kind of example."""
    from keras_vicregl._tensorflow import tf

    return tf.function(recipe.multi_view, autograph=False)


def _two_at_a_time(groups: tf.data.Dataset, batch_of: Any) -> tf.data.Dataset:
    """One batch of each group, the next one begun lest threads wait at ends."""
    return groups.interleave(
        lambda group, facts: batch_of(group, facts["view_seed"]).map(
            lambda batch: (batch, facts)
        ),
        cycle_length=2,
        block_length=1,
        num_parallel_calls=2,
        deterministic=True,
    )


def _maker(
    source: ImageSource, multi_view: MultiViewLike, decode_whole: bool = False
) -> Callable[[tf.Tensor, tf.Tensor, Any], dict]:
    """A function from an epoch's seed, indices and elements to views.

    Where `multi_view` takes files, it is given them as they are - it may decode
    no more of them than it needs - if nothing has to be turned.
    """
    from keras_vicregl._tensorflow import tf

    read = source._reader()
    takes_files = getattr(multi_view, "accepts_encoded", False)

    def make(seed: tf.Tensor, index: tf.Tensor, element: Any) -> dict:
        seeds = tf.stack([tf.fill(tf.shape(index), seed), index], axis=-1)
        # Boxes are in pixels of the source: views do not move them along.
        example = {**without_boxes(read(index, element)), SEEDS: seeds}
        if source._is_decoded:
            return multi_view(example)

        from keras_vicregl.data.decoding import images as decoding

        def whole(example: dict, index: tf.Tensor, element: Any) -> dict:
            note = source._note_dark(index, element)
            example = decoding.decode_example(example, source.mask_labels, note)
            return multi_view(source._as_asked_for(example))

        if decode_whole or not takes_files or source.channels == 1:
            return whole(example, index, element)
        # Not written into the graph of those it is not for.
        apart = tf.function(
            whole,
            autograph=False,
            experimental_attributes={"_noinline": True},
        )
        return tf.cond(
            decoding.is_plain_jpeg(example[IMAGES]),
            lambda: multi_view(_with_mask(example, source.mask_labels)),
            lambda: apart(example, index, element),
        )

    return make


def _with_mask(
    example: Mapping[str, Any], mask_labels: np.ndarray | None
) -> dict[str, Any]:
    """An example with its mask decoded, and the image still a JPEG file."""
    from keras_vicregl._tensorflow import tf
    from keras_vicregl.data.decoding import images as decoding

    if MASKS not in example:
        return dict(example)
    size = tf.image.extract_jpeg_shape(example[IMAGES])[:2]
    mask = decoding.decode_mask(example[MASKS], mask_labels)
    return {**example, MASKS: decoding.of_size(mask, size)}
