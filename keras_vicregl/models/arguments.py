"""What Keras' `compile`, `fit` and so on take and VICRegL has no use for."""

from __future__ import annotations

import contextlib
import inspect
import operator
import os
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import keras

from keras_vicregl._warnings import warn
from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.models.first_batch import watched
from keras_vicregl.models.given_batches import adapted

_MAKE_BATCHES = (
    "Pass batches of views: keras_vicregl.data.view_batches(images, "
    "MultiView.resnet(), batch_size=256, seed=0), where images are what "
    "keras_vicregl.data.load returns or a dictionary of arrays."
)
_OF_IMAGES = (
    "The features of images are what model.backbone.predict(images) gives, of "
    "normalised images; VICRegL.predict is for batches of views, as "
    "view_batches makes them."
)
_COMPILE = {
    "loss": "The objective is part of the model, so that it would be ignored: "
    "leave it out. VICRegL's own arguments (alpha, invariance_coefficient, "
    "...) change the objective.",
    "loss_weights": "The objective is part of the model: leave it out. "
    "VICRegL's arguments alpha, invariance_coefficient, "
    "variance_coefficient and covariance_coefficient weigh its terms.",
    "metrics": "There is no prediction to compare with labels: leave it out. "
    "The terms of the objective are logged; VICRegL(num_classes=...) "
    "logs the accuracy of an online classifier, and the callback "
    "keras_vicregl.training.Evaluation what else the features are good for.",
}
_COMPILE["weighted_metrics"] = _COMPILE["metrics"]
_WEIGHTS = (
    "The objective is made of statistics of a batch, not of a loss a sample: "
    "leave it out."
)
_FIT = {
    "class_weight": f"{_WEIGHTS} keras_vicregl.data.subset leaves out images "
    "of the classes of which there are too many.",
    "sample_weight": f"{_WEIGHTS} keras_vicregl.data.subset leaves out images.",
}


_NO_VALIDATION = "There is nothing to validate on: pass validation_data too."
_VALIDATION = {
    "validation_steps": _NO_VALIDATION,
    "validation_batch_size": _NO_VALIDATION,
}


if TYPE_CHECKING:
    from keras import Model as _Base
else:
    _Base = object


class CheckedArguments(_Base):
    """Mixed into a `keras.Model`: an error where an argument does nothing."""

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        **kwargs: Any,
    ) -> None:
        """`keras.Model.compile`, for a model that has its own loss.

        Args:
            optimizer: as in `keras.Model.compile`.
            loss: not supported: the objective is part of the model.
            loss_weights: not supported, nor
            metrics: are these, nor
            weighted_metrics: these.
            **kwargs: as in `keras.Model.compile`.

        Raises:
            ValueError: if one that is not supported is given.
        """
        given = {
            "loss": loss,
            "loss_weights": loss_weights,
            "metrics": metrics,
            "weighted_metrics": weighted_metrics,
        }
        _refuse("compile", given, _COMPILE)
        steps = kwargs.get("steps_per_execution")
        if steps != "auto":
            check_counts(steps_per_execution=steps)
        super().compile(optimizer, **kwargs)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as a `.keras` file says."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """`keras.Model.fit`, of batches of views."""
        given = _bound(super().fit, x, *args, **kwargs)
        _refuse("fit", given, _FIT)
        _check_views("x", x)
        _check_numbers(given)
        _check_validation(x, given)
        _check_batch_size("fit", x, given)
        _check_generator(x, given)
        _check_labels("fit", x, given)
        if kwargs.get("validation_data") is not None:
            kwargs["validation_data"] = adapted(kwargs["validation_data"])
        with _recognized(x):
            x = watched(self, x, bool(given.get("shuffle")))
            return super().fit(x, *args, **kwargs)

    def evaluate(self, x: Any = None, *args: Any, **kwargs: Any) -> Any:
        """`keras.Model.evaluate`, of batches of views."""
        if not self.compiled:
            raise ValueError(
                "You must call `compile()` before `evaluate()`: whose losses "
                "are computed as they are in training."
            )
        given = _bound(super().evaluate, x, *args, **kwargs)
        _refuse("evaluate", given, _FIT)
        _check_views("x", x)
        # What `fit` hands on is its `validation_batch_size`.
        if "_use_cached_eval_dataset" not in kwargs:
            _check_batch_size("evaluate", x, given)
        _check_labels("evaluate", x, given)
        with _recognized(x):
            return super().evaluate(adapted(x), *args, **kwargs)

    def predict(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """`keras.Model.predict`, of batches of views."""
        given = _bound(super().predict, x, *args, **kwargs)
        _check_views("x", x, _OF_IMAGES)
        _check_batch_size("predict", x, given)
        with _recognized(x, _OF_IMAGES):
            return super().predict(adapted(x), *args, **kwargs)


def check_epochs(epochs: Any) -> int:
    """Return `epochs` if so many can be trained.

    Raises:
        ValueError: if it is not an integer of at least 1.
    """
    try:
        number = operator.index(epochs)
    except TypeError:
        number = 0
    if number < 1 or isinstance(epochs, bool):
        raise ValueError(
            "`epochs` must be an integer of at least 1, the number of the last "
            f"epoch to be trained; received epochs={epochs!r}. To use a model "
            "as it is, leave training out."
        )
    return number


def _check_numbers(given: Mapping[str, Any]) -> None:
    """Refuses numbers of `fit` that Keras would do without."""
    epochs = check_epochs(given.get("epochs", 1))
    check_counts(
        steps_per_epoch=given.get("steps_per_epoch"),
        validation_steps=given.get("validation_steps"),
        batch_size=given.get("batch_size"),
    )
    first = given.get("initial_epoch", 0)
    check_counts(0, initial_epoch=first)
    if first >= epochs:
        warn(
            f"Nothing is trained: initial_epoch={first}, and epochs={epochs} "
            "is the number of the last epoch, not how many more there are."
        )


def check_counts(smallest: int = 1, /, **counts: int | None) -> None:
    """Checks what is counted; `None` is left to its default.

    Raises:
        ValueError: if one is not an integer of at least `smallest`.
    """
    for name, value in counts.items():
        if value is not None and not is_count(value, smallest):
            raise ValueError(
                f"`{name}` must be an integer of at least {smallest}; received "
                f"{name}={value!r}."
            )


def is_count(value: Any, smallest: int = 1) -> bool:
    """Whether a value is an integer, of any library, of at least that."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    return whole and operator.index(value) >= smallest


def _bound(function: Callable, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
    """The arguments by their names; an unknown one is a `TypeError`."""
    bound = inspect.signature(function).bind(*args, **kwargs).arguments
    return {**bound, **bound.get("kwargs", {})}


def _refuse(
    function: str, given: Mapping[str, Any], advice: Mapping[str, str]
) -> None:
    for name, sentence in advice.items():
        value = given.get(name)
        empty = isinstance(value, (list, tuple, dict)) and not value
        if value is not None and not empty:
            raise ValueError(
                f"`{name}` of `{function}` is not supported: received "
                f"{name}={value!r}. {sentence}"
            )


@contextlib.contextmanager
def _recognized(x: Any, advice: str = _MAKE_BATCHES) -> Iterator[None]:
    """Says of what Keras cannot read what it should be."""
    try:
        yield
    except ValueError as error:
        if not str(error).startswith("Unrecognized data type: x="):
            raise
        raise ValueError(
            f"`x` must be batches of views; received a {type(x).__name__}. "
            f"{advice}"
        ) from error


def _check_views(name: str, x: Any, advice: str = _MAKE_BATCHES) -> None:
    """Refuses what cannot be batches of views, before anything is computed."""
    found = _no_views(x)
    if found:
        raise ValueError(
            f"`{name}` must be batches of views; received {found}. {advice}"
        )


def _no_views(x: Any) -> str:
    """What `x` is, where it cannot be batches of views."""
    if isinstance(x, ImageSource):
        return f"{x!r}, which has images but no views"
    if isinstance(x, (str, os.PathLike)):
        return f"{str(x)!r}, a name or a path"
    if x is None or isinstance(x, (bool, int, float)):
        return repr(x)
    if isinstance(x, Mapping):
        known = "views" in x or {"images", "parameters"} <= x.keys()
        return "" if known else f"a dictionary with the keys {sorted(x)}"
    if isinstance(x, (list, tuple)):
        return f"a {type(x).__name__} of {len(x)}"
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"an array of shape {tuple(x.shape)}"
    if hasattr(x, "element_spec"):
        return _no_views_in(x.element_spec)
    if callable(x) and not hasattr(x, "__iter__") and not hasattr(x, "__len__"):
        return f"a function, {getattr(x, '__name__', type(x).__name__)}"
    return ""


def _no_views_in(spec: Any) -> str:
    """The same of the elements of a `tf.data.Dataset`."""
    inputs = spec[0] if isinstance(spec, tuple) and spec else spec
    found = "" if isinstance(inputs, Mapping) else "no dictionaries"
    if isinstance(inputs, Mapping):
        found = _no_views(inputs)
    return found and f"a data set of {found}, elements of {spec}"


def _check_validation(x: Any, given: Mapping[str, Any]) -> None:
    data = given.get("validation_data")
    if data is not None:
        # Keras takes tuples of inputs, labels and weights as well.
        pair = isinstance(data, (list, tuple)) and 1 <= len(data) <= 3
        if pair and len(data) == 3 and data[2] is not None:
            raise ValueError(
                "`validation_data` must not have sample weights. " + _WEIGHTS
            )
        _check_views("validation_data", data[0] if pair else data)
    split = given.get("validation_split")
    if data is None and not split:
        _refuse("fit", given, _VALIDATION)
    if split and not isinstance(x, Mapping):
        raise ValueError(
            "`validation_split` is for a dictionary of all examples; received "
            f"validation_split={split} with a {type(x).__name__}. Divide the "
            "images (keras_vicregl.data.subset) and pass validation_data="
            "view_batches(other_images, ..., fixed=True)."
        )


def _check_labels(function: str, x: Any, given: Mapping[str, Any]) -> None:
    if given.get("y") is not None and not isinstance(x, Mapping):
        raise ValueError(
            f"`y` of `{function}` is for a dictionary of all examples; "
            f"received it with a {type(x).__name__}: let that yield labels "
            "with its batches, (batch, labels)."
        )


def _check_generator(x: Any, given: Mapping[str, Any]) -> None:
    epochs = given.get("epochs", 1) - given.get("initial_epoch", 0)
    if (
        isinstance(x, Generator)
        and epochs > 1
        and given.get("steps_per_epoch") is None
    ):
        raise ValueError(
            f"A generator can be read only once: which of its batches make an "
            f"epoch of {epochs}? Pass `steps_per_epoch`, or a "
            "keras.utils.PyDataset or a DataLoader, which can be read again."
        )


def _check_batch_size(function: str, x: Any, given: Mapping[str, Any]) -> None:
    size = given.get("batch_size")
    if size is not None and not isinstance(x, Mapping):
        raise ValueError(
            f"`batch_size` of `{function}` is not supported with batches, "
            f"which have their size already: received batch_size={size}. Give "
            "it to view_batches or ArrayBatches instead."
        )
