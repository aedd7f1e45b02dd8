"""What a machine and its environment offer, set up by one call."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import keras

from keras_vicregl.distribution._environment import several_processes

STRATEGIES = {
    "tensorflow": ("none", "mirrored", "multi_worker", "tpu"),
    "jax": ("none", "data_parallel"),
    "torch": ("none", "process_group"),
}


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


def auto(strategy: str = "auto") -> Setup:
    """Sets up training on all devices there are.

    Call it first, before anything is computed. What it looks at:

    - tensorflow: `TPU_NAME` (`"tpu"`, TPUStrategy); several workers in
      `TF_CONFIG`, or several tasks of SLURM (`"multi_worker"`,
      MultiWorkerMirroredStrategy); several GPUs (`"mirrored"`,
      MirroredStrategy).
    - jax: several devices (`"data_parallel"`, keras.distribution.DataParallel),
      also those of other processes, which are connected first: as
      `JAX_COORDINATOR_ADDRESS` or `KERAS_DISTRIBUTION_JOB_ADDRESSES` and their
      like say, SLURM, or a TPU of several hosts.
    - torch: several processes in `WORLD_SIZE`, as torchrun sets it, or several
      tasks of SLURM (`"process_group"`).

    Otherwise `"none"`: the device that the backend would use anyway.

    Args:
        strategy: `"auto"`, or the name of one. `"mirrored"` takes all
            logical CPUs where there is no GPU.

    Returns:
        A `Setup`.

    Raises:
        ValueError: if the backend has no such strategy, or the environment
            does not say what it needs.

    Example:

    ```python
    setup = keras_vicregl.distribution.auto()
    with setup.scope():
        model = VICRegL.from_recipe("resnet50")
        model.compile(optimizer)
    make_batches = setup.batches(
        functools.partial(view_batches, data, views, seed=0), batch_size=512
    )
    pretrain(model, make_batches, epochs=100, output="run")
    ```
    """
    backend = keras.backend.backend()
    if strategy not in ("auto", *STRATEGIES[backend]):
        raise ValueError(
            f"`strategy` of the backend {backend!r} must be 'auto' or one of "
            f"{', '.join(map(repr, STRATEGIES[backend]))}; received "
            f"{strategy!r}."
        )
    several = several_processes()
    if strategy in ("none", "mirrored") and several:
        raise ValueError(
            f"`strategy={strategy!r}` is for one process, but {several}: each "
            "would train alone, and write the same files. Use 'auto', or start "
            "one process."
        )
    if strategy == "none":
        return Setup()
    if backend == "tensorflow":
        from keras_vicregl.distribution._setup_tensorflow import set_up
    elif backend == "jax":
        from keras_vicregl.distribution._setup_jax import set_up
    else:
        from keras_vicregl.distribution._setup_torch import set_up
    return set_up(strategy)
