"""Runs that can be repeated bit for bit, by one call on each backend."""

from __future__ import annotations

import os
from typing import Any

import keras

ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
CUBLAS = "CUBLAS_WORKSPACE_CONFIG"
# Sums whose order does not depend on threads, on CPUs and GPUs.
XLA_FLAGS = (
    "--xla_cpu_multi_thread_eigen=false",
    "--xla_gpu_deterministic_ops=true",
)


def deterministic(seed: int = 0) -> None:
    """Makes what this process computes the same, bit for bit, in each run.

    By default it is not: threads share sums in whatever order they come to
    them, libraries choose between algorithms by how fast they are at the
    moment, and after an epoch weights of two runs may differ in the third
    digit. With this, two runs of one program on one machine give the same bits,
    and so does one that was interrupted and resumed (`TrainingCheckpoint`).

    Call it first, before anything is computed and before `auto`. It costs
    time: on CPUs the backend then computes an operation with one thread (views
    are still made by several), on GPUs it takes slower algorithms. An operation
    of which the backend has none that is deterministic is an error there.

    - tensorflow: op determinism, one thread within operations, and no oneDNN.
      The last is decided when TensorFlow is imported: set
      `TF_ENABLE_ONEDNN_OPTS=0` before, as `keras-vicregl pretrain
      --deterministic` does. (keras-cv's generator, which op determinism would
      refuse, gets a seed.)
    - jax: flags of XLA for deterministic sums and one thread within operations.
    - torch: deterministic algorithms, one thread, a fixed workspace of cuBLAS.

    Other machines, versions, numbers of devices or processes give other bits.

    Args:
        seed: of the initial weights and all else that asks the generators of
            Python, NumPy and the backend (`keras.utils.set_random_seed`).

    Raises:
        RuntimeError: if it comes too late, and what to do about it.

    Example:

    ```python
    import os

    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"  # before TensorFlow is imported
    import keras_vicregl

    keras_vicregl.distribution.deterministic(seed=0)
    ```
    """
    {
        "tensorflow": _tensorflow,
        "jax": _jax,
        "torch": _torch,
    }[keras.backend.backend()]()
    keras.utils.set_random_seed(seed)


def _tensorflow() -> None:
    from keras_vicregl._tensorflow import tf

    if _onednn_is_on():
        raise RuntimeError(
            "`deterministic` comes too late: TensorFlow has been imported with "
            f"oneDNN, whose sums differ from run to run. Set {ONEDNN}=0 "
            f"before, in the shell or by os.environ[{ONEDNN!r}] = '0' above "
            "the first import of keras, tensorflow or keras_vicregl."
        )
    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
    except RuntimeError as error:
        raise _too_late("TensorFlow") from error
    # keras-cv asks for it, and may not make one under op determinism.
    tf.random.set_global_generator(tf.random.Generator.from_seed(0))
    tf.config.experimental.enable_op_determinism()


def _onednn_is_on() -> bool:
    try:
        from tensorflow.python.util import _pywrap_util_port

        return _pywrap_util_port.IsMklEnabled()
    except (ImportError, AttributeError):
        return os.environ.get(ONEDNN) != "0"


def _jax() -> None:
    from jax._src import xla_bridge

    set_already = os.environ.get("XLA_FLAGS", "").split()
    missing = [flag for flag in XLA_FLAGS if flag not in set_already]
    if missing and xla_bridge.backends_are_initialized():
        raise _too_late("JAX")
    # The last of contradicting flags holds.
    os.environ["XLA_FLAGS"] = " ".join([*set_already, *missing])


def _torch() -> None:
    import torch

    if torch.cuda.is_initialized() and CUBLAS not in os.environ:
        raise _too_late("PyTorch")
    os.environ.setdefault(CUBLAS, ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    if not torch.cuda.is_available():
        torch.set_num_threads(1)


def _too_late(backend: str) -> Any:
    return RuntimeError(
        f"`deterministic` comes too late: {backend} has computed something "
        "already. Call it first, before `auto`, models and data."
    )
