"""What a machine and its environment offer, set up by one call."""

from __future__ import annotations

import keras

from keras_vicregl.distribution.environment.launchers import several_processes
from keras_vicregl.distribution.environment.setup import Setup

STRATEGIES = {
    "tensorflow": ("none", "mirrored", "multi_worker", "tpu"),
    "jax": ("none", "data_parallel"),
    "torch": ("none", "process_group"),
}
"""By backend, what `auto` takes as its strategy beside `"auto"`."""


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
        from keras_vicregl.distribution.environment.tensorflow import set_up
    elif backend == "jax":
        from keras_vicregl.distribution.environment.jax import set_up
    else:
        from keras_vicregl.distribution.environment.torch import set_up
    return set_up(strategy)
