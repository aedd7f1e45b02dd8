"""Devices that train one model, and the batches of each."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any


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

        Args:
            make_batches: `view_batches` or one like it, with all arguments but
                `batch_size`, `shard` and `start` bound.
            batch_size: examples in a batch, over all devices.

        Returns:
            A function of `start`, for `pretrain`; what it returns is for
            `fit`.

        Raises:
            ValueError: if the batch does not divide by the number of devices.
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
        make_batches = functools.partial(make_batches, batch_size=batch_size)
        if self._distribute is not None:
            share = batch_size // self.replicas
            return lambda start=(0, 0): self._distribute(
                functools.partial(make_batches, start=start), share
            )
        if self.processes > 1:
            shard = (self.process, self.processes)
            return functools.partial(make_batches, shard=shard)
        return make_batches

    def __str__(self) -> str:
        """In words."""
        if self.replicas == 1:
            return "one device"
        return (
            f"{self.replicas} devices in {self.processes} "
            f"process{'' if self.processes == 1 else 'es'} ({self.strategy})"
        )
