"""Pictures during training."""

import os
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_vicregl.distribution.processes import process_index
from keras_vicregl.visualization._figures import check_not_empty, save

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class FigureCallback(keras.callbacks.Callback):
    """Draws figures every few epochs, as PNG files and for TensorBoard.

    They are drawn after every `every` epochs and after the last one. In a
    distributed training all processes call the functions, which may run the
    model, and the first one writes.

    Args:
        functions: name to a function from the model to a matplotlib figure.
        folder: gets `<name>/epoch_0001.png` and so on, epochs counted from 1.
            `None`: no files.
        tensorboard: TensorBoard's folder, or a `tf.summary` writer: images
            `<name>` over epochs, counted from 1. `None`: not for TensorBoard.
        every: epochs between pictures.

    Raises:
        ImportError: if TensorFlow or TensorBoard is not installed, for a folder
            `tensorboard`.
        ValueError: if there are no functions, nowhere to write to, or `every`
            is not positive.

    Example:

    ```python
    def matches(model):
        return plot_match_criteria(find_matches(model, batch))

    pictures = FigureCallback(
        {"matches": matches}, "run/pictures", tensorboard="run/tensorboard"
    )
    pretrain(model, batches, epochs=100, output="run", callbacks=[pictures])
    ```
    """

    def __init__(
        self,
        functions: Mapping[str, Callable[[keras.Model], "Figure"]],
        folder: str | os.PathLike | None = None,
        *,
        tensorboard: Any = None,
        every: int = 1,
    ) -> None:
        super().__init__()
        check_not_empty("functions", functions)
        if every < 1:
            raise ValueError(f"`every` must be 1 or more; got {every}.")
        if folder is None and tensorboard is None:
            raise ValueError(
                "`folder` and `tensorboard` are both None: there is nowhere to "
                "write pictures to."
            )
        self.functions = dict(functions)
        self.folder = None if folder is None else pathlib.Path(folder)
        self.every = every
        self._epoch: int | None
        self._drawn: int | None
        self._tensorboard = tensorboard
        if isinstance(tensorboard, str | os.PathLike):
            _tensorflow()  # known before training
        self._epoch = self._drawn = None

    def get_state(self) -> dict[str, Any]:
        """Nothing that a training needs to go on."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Has nothing to go back to."""

    def on_train_begin(self, logs: Any = None) -> None:
        """Nothing of this training is drawn yet."""
        self._epoch = self._drawn = None

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Draws, when it is time."""
        self._epoch = epoch + 1
        if (epoch + 1) % self.every == 0:
            self._draw()

    def on_train_end(self, logs: Any = None) -> None:
        """Draws the last epoch."""
        if self._epoch != self._drawn:
            self._draw()

    def _draw(self) -> None:
        self._drawn = self._epoch
        for name, function in self.functions.items():
            figure = function(self.model)
            if process_index(self.model):
                continue
            if self.folder is not None:
                save(figure, self.folder / name / f"epoch_{self._epoch:04}.png")
            if self._tensorboard is not None:
                self._add_image(name, figure)

    def _add_image(self, name: str, figure: "Figure") -> None:
        tf = _tensorflow()
        if isinstance(self._tensorboard, str | os.PathLike):
            self._tensorboard = tf.summary.create_file_writer(
                str(self._tensorboard)
            )
        with self._tensorboard.as_default(step=self._epoch):
            tf.summary.image(name, figure_pixels(figure)[None])
        self._tensorboard.flush()


def figure_pixels(figure: "Figure") -> np.ndarray:
    """A figure as it is saved.

    Args:
        figure: a matplotlib figure.

    Returns:
        `(H, W, 4)` uint8 array, RGBA.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.array(canvas.buffer_rgba())


def _tensorflow() -> Any:
    try:
        import tensorboard  # noqa: F401

        from keras_vicregl._tensorflow import tf
    except ImportError as error:
        raise ImportError(
            "`tensorboard` needs TensorFlow and TensorBoard: pip install "
            "tensorflow tensorboard"
        ) from error
    return tf
