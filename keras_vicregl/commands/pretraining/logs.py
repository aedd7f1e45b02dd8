"""Logs where a team looks, by the callbacks of those who make them.

TensorBoard's files are written by `pretrain` itself.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from keras_vicregl._installed import missing
from keras_vicregl.optimizers.rates import learning_rate_of

if TYPE_CHECKING:
    import keras

# What they need, as it is imported: wandb's callback TensorFlow, and MLflow's
# what its small package leaves out.
_NEEDS = {
    "tensorboard": ("tensorboard", "tensorflow"),
    "wandb": ("wandb", "tensorflow"),
    "mlflow": ("mlflow", "pandas"),
}
_PROJECT = "keras-vicregl"
# Which of their runs is that of a folder, for those who go on with it.
_RUNS = "logs.json"


def check_logs(names: Sequence[str]) -> None:
    """Raises an ImportError where a package is missing that logs need."""
    for name in names:
        absent = missing(*_NEEDS[name])
        if absent:
            raise ImportError(
                f"--log {name} needs {' and '.join(absent)}, not installed "
                f"here: pip install {' '.join(absent)}."
            )


@contextlib.contextmanager
def opened(
    names: Sequence[str], output: pathlib.Path, settings: dict[str, Any]
) -> Iterator[list[keras.callbacks.Callback]]:
    """Runs of loggers while a training lasts.

    A run that goes on is the same there. Where they log to - servers, folders,
    offline - their own variables of the environment say, such as `WANDB_MODE`
    and `MLFLOW_TRACKING_URI`.

    Args:
        names: of `wandb`, `mlflow`.
        output: folder of the run, which exists.
        settings: to be shown there.

    Yields:
        Callbacks.
    """
    with contextlib.ExitStack() as runs:
        yield [
            runs.enter_context(_OPENED[name](output, settings))
            for name in names
            if name in _OPENED
        ]


@contextlib.contextmanager
def _wandb(
    output: pathlib.Path, settings: dict[str, Any]
) -> Iterator[keras.callbacks.Callback]:
    import wandb
    from wandb.integration.keras import WandbMetricsLogger

    class Logger(WandbMetricsLogger):
        """Theirs takes learning rates of TensorFlow and PyTorch alone."""

        def _get_lr(self) -> float:
            rate = learning_rate_of(self.model.optimizer)
            return math.nan if rate is None else rate

    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", _PROJECT),
        name=output.name,
        id=_known(output, "wandb"),
        resume="allow",
        dir=str(output),
        config=settings,
    )
    _remember(output, "wandb", run.id)
    code = 1
    try:
        yield Logger()
        code = 0
    finally:
        run.finish(exit_code=code)


@contextlib.contextmanager
def _mlflow(
    output: pathlib.Path, settings: dict[str, Any]
) -> Iterator[keras.callbacks.Callback]:
    import mlflow
    from mlflow.keras import MlflowCallback

    if not {"MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"} & {*os.environ}:
        mlflow.set_experiment(_PROJECT)
    known = _known(output, "mlflow")
    with mlflow.start_run(run_id=known, run_name=output.name) as run:
        _remember(output, "mlflow", run.info.run_id)
        mlflow.set_tags({name: str(value) for name, value in settings.items()})
        yield MlflowCallback()
        mlflow.flush_async_logging()


_OPENED = {"wandb": _wandb, "mlflow": _mlflow}


def _runs(output: pathlib.Path) -> dict[str, str]:
    path = output / _RUNS
    return json.loads(path.read_text()) if path.exists() else {}


def _known(output: pathlib.Path, name: str) -> str | None:
    return _runs(output).get(name)


def _remember(output: pathlib.Path, name: str, run: str) -> None:
    from keras_vicregl.storage.files import write_text

    write_text(output / _RUNS, json.dumps({**_runs(output), name: run}))
