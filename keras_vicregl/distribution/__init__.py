"""One model on any number of devices.

A *replica* is the model on one device, with its share of every batch. Loss,
gradients and statistics of batch normalisation are those of one device with
the whole batch, under:

- TensorFlow: `tf.distribute`'s MirroredStrategy, MultiWorkerMirroredStrategy
  and TPUStrategy;
- JAX: `keras.distribution.DataParallel`, in one process or several;
- PyTorch: a process a device, as `torchrun` starts them.

`auto` sets up what the machine offers, and `deterministic` makes runs that can
be repeated bit for bit. Losses, models and trainings use what
is here; it knows nothing of them.
"""

from keras_vicregl.distribution.batch_normalization import (
    synchronize_batch_normalization,
)
from keras_vicregl.distribution.collectives import (
    replica_count,
    replica_gather,
    replica_mean,
    replica_sum,
)
from keras_vicregl.distribution.environment.auto import STRATEGIES, auto
from keras_vicregl.distribution.environment.determinism import deterministic
from keras_vicregl.distribution.environment.setup import Setup
from keras_vicregl.distribution.memory import (
    devices,
    free_memory,
    has_accelerator,
    peak_memory,
)
from keras_vicregl.distribution.processes import (
    end_together,
    gather_from_processes,
    process_count,
    process_index,
)

__all__ = [
    "STRATEGIES",
    "Setup",
    "auto",
    "deterministic",
    "devices",
    "end_together",
    "free_memory",
    "gather_from_processes",
    "has_accelerator",
    "peak_memory",
    "process_count",
    "process_index",
    "replica_count",
    "replica_gather",
    "replica_mean",
    "replica_sum",
    "synchronize_batch_normalization",
]
