"""Devices that train one model, and the batches of each."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras

from keras_vicregl._warnings import warn

_ARGUMENTS = ("batch_size", "shard", "start")


@dataclasses.dataclass(frozen=True)
class Setup:
    """Devices that train one model, and how they are told to.

    Attributes:
        strategy: its name, see `auto`.
        replicas: devices, over all processes.
        processes: how many there are.
        process: which this is; 0 is the one that writes files.
    """

    strategy: str = "none"
    replicas: int = 1
    processes: int = 1
    process: int = 0
    _scope: Callable[[], Any] = contextlib.nullcontext
    _distribute: Callable[[Callable, int], Any] | None = None

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.process == 0

    def scope(self) -> Any:
        """A context in which to make and compile the model."""
        return self._scope()

    def batches(
        self, make_batches: Callable[..., Any], batch_size: int
    ) -> Callable[..., Any]:
        """What makes the batches of all devices, made this process' share.

        `make_batches` is called with those of three arguments that it takes:

        - `batch_size`: examples in a batch, over all devices and processes;
        - `shard=(process, processes)`, where there are several: batches are to
          hold rows `process * batch_size / processes` to `(process + 1) *
          batch_size / processes` of it alone;
        - `start=(epoch, step)`: where the first iteration begins, each further
          one being an epoch.

        One that takes no `shard` shares out batches itself, as with a
        `DistributedSampler` of PyTorch. What it returns must hold the share of
        this process, of other examples than those of the others: a first batch
        of another size is an error, and so is one that two processes have
        alike. Without `start`, training that was interrupted does not go on
        with the batches that are left, and `pretrain`, which asks for it, has
        a warning.

        Args:
            make_batches: `view_batches` or one like it, with all other
                arguments bound. Under a strategy of TensorFlow it returns a
                `tf.data.Dataset`; elsewhere whatever `fit` takes.
            batch_size: examples in a batch, over all devices.

        Returns:
            A function of `start`, for `pretrain`; what it returns is for
            `fit`.

        Raises:
            ValueError: if the batch does not divide by the number of devices,
                or `make_batches` needs other arguments.
        """
        if batch_size % self.replicas:
            raise ValueError(
                f"`batch_size={batch_size}` does not divide by the "
                f"{self.replicas} devices: give each the same share, such as "
                f"batch_size={-(-batch_size // self.replicas) * self.replicas}."
            )
        if batch_size < 2:
            raise ValueError(
                "The variance over a batch needs at least 2 examples; received "
                f"batch_size={batch_size}."
            )
        takes, needs = _arguments_of(make_batches)
        arguments: dict[str, Any] = {"batch_size": batch_size}
        if self.processes > 1 or "shard" in needs:
            arguments["shard"] = (self.process, self.processes)
        if "start" in needs:
            arguments["start"] = (0, 0)
        distribute = self._distribute
        if distribute is not None:
            share = batch_size // self.replicas
            make_batches = _made(make_batches, takes, None, arguments)
            return lambda **start: distribute(
                functools.partial(make_batches, **start), share
            )
        if self.processes == 1 and "batch_size" in takes:
            return _made(make_batches, takes, None, arguments)
        share = batch_size // self.processes
        return _made(make_batches, takes, share, arguments)

    def __str__(self) -> str:
        """In words."""
        if self.replicas == 1:
            return "one device"
        return (
            f"{self.replicas} devices in {self.processes} "
            f"process{'' if self.processes == 1 else 'es'} ({self.strategy})"
        )


def check_share(found: int, share: int | None) -> None:
    """Refuses a batch that is not the share of this process.

    Args:
        found: examples that it has.
        share: examples that it must have; None for any number.

    Raises:
        ValueError: if these are not the same.
    """
    if share is not None and found != share:
        raise ValueError(
            f"A batch of this process must have {share} examples, its share "
            f"of the `batch_size` of `setup.batches`; received {found}. Let "
            "`make_batches` take `batch_size` (of all processes) and `shard` "
            "(number and count of processes), or make such batches itself."
        )


def _arguments_of(
    make_batches: Callable[..., Any],
) -> tuple[frozenset[str], frozenset[str]]:
    """Those of the three arguments that a function takes, and that it needs."""
    every = frozenset(_ARGUMENTS)
    try:
        signature = inspect.signature(make_batches)
    except (TypeError, ValueError):  # of what is not written in Python
        return every, frozenset()
    named = {
        name: each
        for name, each in signature.parameters.items()
        if name in every and each.kind is not each.POSITIONAL_ONLY
    }
    needs = {name for name, each in named.items() if each.default is each.empty}
    kinds = [each.kind for each in signature.parameters.values()]
    takes = (
        every if inspect.Parameter.VAR_KEYWORD in kinds else every & {*named}
    )
    try:
        signature.bind(**dict.fromkeys(takes))
    except TypeError as error:
        raise ValueError(
            "`make_batches` must need no arguments but `batch_size`, `shard` "
            f"and `start`: {error}. Bind others by functools.partial; received "
            f"{make_batches!r}."
        ) from error
    return takes, frozenset(needs)


def _made(
    make_batches: Callable[..., Any],
    takes: frozenset[str],
    share: int | None,
    arguments: Mapping[str, Any],
) -> Callable[..., Any]:
    """A function with arguments bound, as far as it takes any."""
    bound = {key: arguments[key] for key in arguments if key in takes}
    if share is None and takes.issuperset(_ARGUMENTS):
        return functools.partial(make_batches, **bound)
    made = _Batches(make_batches, **bound)
    made.takes, made.share = takes, share
    return made


class _Batches(functools.partial):
    """What makes the share of a process by a function that may take less.

    A `partial`, in which others find what is bound, such as a seed.
    """

    takes: frozenset[str]
    share: int | None

    def __call__(self, /, **kwargs: Any) -> Any:
        """Makes batches, and notes how many examples they must have."""
        if "start" in kwargs and "start" not in self.takes:
            del kwargs["start"]
            if not self.__dict__.get("is_said"):
                self.__dict__["is_said"] = True
                warn(
                    "`make_batches` takes no `start`: a training that was "
                    "interrupted cannot go on with the batches that are left, "
                    "but begins with those of the first epoch. Let it take "
                    "`start=(epoch, step)`."
                )
        kwargs = {
            key: value
            for key, value in kwargs.items()
            if key in self.takes or key not in _ARGUMENTS
        }
        batches = super().__call__(**kwargs)
        if self.share is None:
            return batches
        if isinstance(batches, types.GeneratorType):
            return _of_share(batches, self.share)
        # Not of what has slots, whose first batch is not looked at.
        with contextlib.suppress(AttributeError):
            batches.share_of_batch = self.share
        return batches


def _of_share(batches: Iterator[Any], share: int) -> Iterator[Any]:
    """A generator, whose first batch is looked at."""
    for index, batch in enumerate(batches):
        if not index:
            for array in keras.tree.flatten(batch)[:1]:
                check_share(len(array), share)
        yield batch
