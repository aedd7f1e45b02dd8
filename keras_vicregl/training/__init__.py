"""Training that can be interrupted: checkpoints, logs, `pretrain`.

And figures of merit while it goes on: `Evaluation`. In come a model and
batches, out goes a folder with all that a run leaves. The top floor: scripts
and guides use it, nothing in the package does.
"""

from keras_vicregl.storage.history import read_history, read_rows
from keras_vicregl.training._beginning import check_steps, has_trained
from keras_vicregl.training.evaluation import Evaluation
from keras_vicregl.training.figures import feature_evaluation
from keras_vicregl.training.interruption import StopSignals, TrainingInterrupted
from keras_vicregl.training.log import TrainingLog
from keras_vicregl.training.pretrain import pretrain
from keras_vicregl.training.progress.callback import ProgressLine
from keras_vicregl.training.saving.callback_states import CallbackStates
from keras_vicregl.training.saving.checkpoint import TrainingCheckpoint
from keras_vicregl.training.saving.folder import Position
from keras_vicregl.training.saving.state import Stateful
from keras_vicregl.training.settings import keep_settings

__all__ = [
    "CallbackStates",
    "Evaluation",
    "Position",
    "ProgressLine",
    "Stateful",
    "StopSignals",
    "TrainingCheckpoint",
    "TrainingInterrupted",
    "TrainingLog",
    "check_steps",
    "feature_evaluation",
    "has_trained",
    "keep_settings",
    "pretrain",
    "read_history",
    "read_rows",
]
