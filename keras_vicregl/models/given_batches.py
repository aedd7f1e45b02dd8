"""Batches of one's own, in the form in which Keras takes them.

Of a generator Keras wants tuples, and begins it again with its first two
batches where it has ended; of a PyTorch `DataLoader` it takes the lists that
`default_collate` makes of tuples, which TensorFlow does not, and the keys of a
dictionary, where a batch is one. Here a batch may be a dictionary, alone or in
a tuple or list with labels, whatever yields it, with views in a tuple or list.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from keras.src.trainers import data_adapters
from keras.src.trainers.data_adapters import data_adapter_utils
from keras.src.trainers.data_adapters.data_adapter import DataAdapter
from keras.src.trainers.data_adapters.generator_data_adapter import (
    GeneratorDataAdapter,
)
from keras.src.trainers.data_adapters.py_dataset_adapter import (
    PyDatasetAdapter,
)

from keras_vicregl._warnings import warn

_IS_TORCH = keras.backend.backend() == "torch"


def adapted(x: Any, shuffle: bool = False) -> Any:
    """What Keras takes in place of `x`, in `fit`, `evaluate` and `predict`.

    Args:
        x: what a user has given: a generator, a `DataLoader` of PyTorch, a
            `PyDataset`, a `tf.data.Dataset`, or something else.
        shuffle: whether Keras is to take the batches of a `PyDataset` in
            another order.

    Returns:
        A data adapter of Keras; `x` itself where it is none of these.

    Raises:
        ValueError: if a generator yields no batches, or not of a form that is
            known.
    """
    if shuffle and not isinstance(x, (keras.utils.PyDataset, Mapping)):
        warn(
            "`shuffle=True` is ignored: Keras takes the batches of a "
            f"{type(x).__name__} in the order in which they come."
        )
    if isinstance(x, types.GeneratorType):
        _check_shares(x)
        return _Generator(x)
    if data_adapters.is_torch_dataloader(x):
        _check_shares(x)
        return _Loader(x)
    if isinstance(x, keras.utils.PyDataset):
        _check_shares(x)
        return _PyDataset(x, shuffle=shuffle)
    if data_adapters.is_tf_dataset(x):
        return data_adapters.get_data_adapter(x)
    return x


def in_one_form(batch: Any) -> tuple[Any, ...]:
    """A batch as a tuple of its dictionary and what else it has.

    Args:
        batch: a dictionary, alone or first in a tuple or list.

    Returns:
        A tuple, with tuples in the place of lists, and arrays in that of
        tensors of PyTorch where Keras runs on another backend.

    Raises:
        ValueError: if it is something else.
    """
    parts = (batch,) if isinstance(batch, Mapping) else batch
    if (
        not isinstance(parts, (tuple, list))
        or not 1 <= len(parts) <= 3
        or not isinstance(parts[0], Mapping)
    ):
        raise ValueError(
            "A batch must be a dictionary with a tuple of images under "
            "'views' (or 'images' and 'parameters', for views on the device), "
            f"or a tuple of it and labels; received {_in_words(batch)}."
        )
    first, *rest = parts
    first = {key: _as_tuples(value) for key, value in first.items()}
    return keras.tree.map_structure(
        lambda value: None if value is None else _as_array(value),
        (first, *rest),
        none_is_leaf=True,
    )


def _as_tuples(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(map(_as_tuples, value))
    return value


def _as_array(value: Any) -> Any:
    if data_adapter_utils.is_torch_tensor(value):
        return value if _IS_TORCH else np.asarray(value.detach().cpu())
    return value if hasattr(value, "shape") else np.asarray(value)


def _in_words(batch: Any) -> str:
    if isinstance(batch, (tuple, list)):
        parts = ", ".join(map(_in_words, batch[:4]))
        more = ", ..." if len(batch) > 4 else ""
        return f"a {type(batch).__name__} of {len(batch)}: {parts}{more}"
    if isinstance(batch, Mapping):
        return f"a dictionary with the keys {sorted(map(str, batch))}"
    if hasattr(batch, "shape"):
        return f"an array of shape {tuple(batch.shape)}"
    return type(batch).__name__


def _check_shares(x: Any) -> None:
    """What Keras says of batches that it cannot share out, see `auto`."""
    distribution = keras.distribution.distribution()
    if getattr(distribution, "_is_multi_process", False) and getattr(
        distribution, "auto_shard_dataset", False
    ):
        raise ValueError(
            f"Batches of a {type(x).__name__} are not shared out among "
            "processes by themselves: give each process its own, by "
            "`setup.batches` of keras_vicregl.distribution.auto(), or say that "
            "they are shares already, by "
            "keras.distribution.DataParallel(auto_shard_dataset=False)."
        )


class _Generator(GeneratorDataAdapter):
    """Batches of a generator, each of them once."""

    def __init__(self, generator: Any) -> None:
        self._taken, self._has_ended = 0, False
        self.generator: Callable[[], Iterator[Any]]
        super().__init__(in_one_form(batch) for batch in generator)
        # With the first ones, which Keras has looked at.
        self._rest = self.generator()
        self.generator = self._batches

    def _batches(self) -> Iterator[Any]:
        if self._has_ended:
            raise ValueError(
                f"The generator has ended after {self._taken} batches, and can "
                "be read only once. Let it go on for `steps_per_epoch` x "
                "`epochs` batches, or pass a keras.utils.PyDataset or a "
                "DataLoader, which can be read again."
            )
        for batch in self._rest:
            self._taken += 1
            yield batch
        self._has_ended = True


class _PyDataset(PyDatasetAdapter):
    def _standardize_batch(self, batch: Any) -> tuple[Any, ...]:
        return in_one_form(batch)


class _Loader(DataAdapter):
    """Batches of a `DataLoader` of PyTorch, on any backend."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        try:
            self._count: int | None = len(loader)
        except TypeError:  # of a data set that does not know its length
            self._count = None
        self._signature = None
        self._begun: Iterator[Any] | None = None

    def get_numpy_iterator(self) -> Iterator[Any]:
        """Batches of an epoch, of NumPy arrays."""
        return map(in_one_form, self._loader)

    def get_jax_iterator(self) -> Iterator[Any]:
        """Batches of an epoch, for JAX."""
        return self.get_numpy_iterator()

    def get_torch_dataloader(self) -> Iterable[Any]:
        """Batches of an epoch, of tensors of PyTorch."""
        from keras.src.backend.torch.core import convert_to_tensor

        # To the device, as Keras does with those of others.
        for batch in self.get_numpy_iterator():
            yield keras.tree.map_structure(
                convert_to_tensor, batch, none_is_leaf=False
            )

    def get_tf_dataset(self) -> Any:
        """Batches of an epoch as a data set of TensorFlow."""
        from keras_vicregl._tensorflow import tf

        if self._signature is None:
            batches = self.get_numpy_iterator()
            seen = [*itertools.islice(batches, 2)]
            if not seen:
                raise ValueError("The DataLoader has no batches.")
            self._signature = data_adapter_utils.get_tensor_spec(seen)
            # An iteration over it may be dear, and move its sampler on.
            self._begun = itertools.chain(seen, batches)

        def batches_of_epoch() -> Iterator[Any]:
            begun, self._begun = self._begun, None
            yield from begun or self.get_numpy_iterator()

        return tf.data.Dataset.from_generator(
            batches_of_epoch, output_signature=self._signature
        )

    @property
    def num_batches(self) -> int | None:
        """Of an epoch, or None."""
        return self._count

    @property
    def batch_size(self) -> int | None:
        """Of all batches, or None."""
        return self._loader.batch_size


class Watched(DataAdapter):
    """Batches of which the first one is looked at as it passes.

    Args:
        adapter: what gives them.
        look: takes a batch, in the thread that trains.
        look_at_views: takes a few pixels of each view as arrays, under
            TensorFlow, where batches pass in threads of their own.
    """

    def __init__(
        self,
        adapter: DataAdapter,
        look: Callable[[Any], None],
        look_at_views: Callable[[list[np.ndarray]], None],
    ) -> None:
        self._adapter = adapter
        self._look, self._look_at_views = look, look_at_views
        self._is_seen = False

    def _watched(self, batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            if not self._is_seen:
                self._is_seen = True
                self._look(batch)
            yield batch

    def get_numpy_iterator(self) -> Iterator[Any]:
        """Batches of an epoch, of NumPy arrays."""
        return self._watched(self._adapter.get_numpy_iterator())

    def get_jax_iterator(self) -> Iterator[Any]:
        """Batches of an epoch, for JAX."""
        return self._watched(self._adapter.get_jax_iterator())

    def get_torch_dataloader(self) -> Iterator[Any]:
        """Batches of an epoch, of tensors of PyTorch."""
        return self._watched(self._adapter.get_torch_dataloader())

    def get_tf_dataset(self) -> Any:
        """Batches of an epoch as a data set of TensorFlow."""
        from keras_vicregl._tensorflow import tf

        batches = self._adapter.get_tf_dataset()
        inputs = batches.element_spec
        inputs = inputs[0] if isinstance(inputs, tuple) else inputs
        if (
            not isinstance(batches, tf.data.Dataset)  # but a strategy's
            or not isinstance(inputs, Mapping)
            or not isinstance(inputs.get("views"), (tuple, list))
        ):
            return batches

        def look(*few: np.ndarray) -> np.int64:
            if not self._is_seen:
                self._is_seen = True
                self._look_at_views(list(few))
            return np.int64(0)

        def looked_at(index: Any, *batch: Any) -> Any:
            inputs = batch[0]
            tf.cond(
                tf.equal(index, 0),
                lambda: tf.numpy_function(
                    look, [few_pixels(v) for v in inputs["views"]], tf.int64
                ),
                lambda: tf.constant(0, tf.int64),
            )
            return batch if is_tuple else inputs

        is_tuple = isinstance(batches.element_spec, tuple)
        return batches.enumerate().map(
            lambda index, batch: looked_at(
                index, *(batch if is_tuple else (batch,))
            )
        )

    @property
    def num_batches(self) -> int | None:
        """Of an epoch, or None."""
        return self._adapter.num_batches

    @property
    def batch_size(self) -> int | None:
        """Of all batches, or None."""
        return self._adapter.batch_size

    @property
    def has_partial_batch(self) -> bool | None:
        """Whether the last batch is smaller."""
        return self._adapter.has_partial_batch

    @property
    def partial_batch_size(self) -> int | None:
        """Of the last batch, where it is smaller."""
        return self._adapter.partial_batch_size

    def on_epoch_begin(self) -> None:
        """Called by `fit`."""
        self._adapter.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """Called by `fit`."""
        self._adapter.on_epoch_end()


def few_pixels(view: Any) -> Any:
    """Every fourth row and column of eight images of a view at most."""
    return view[:8, ::4, ::4]
