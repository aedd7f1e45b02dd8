"""What floors above the models add to their conveniences.

`VICRegL.from_recipe`, `VICRegL.from_checkpoint` and `backbone(weights=...)`
belong to the model for who calls them, and to `recipes` and `checkpoints` for
what they know. Those packages register what they do here when they are
imported, as `keras_vicregl` does; nothing here knows of them.
"""

from collections.abc import Callable
from typing import Any

_PROVIDED: dict[str, Callable[..., Any]] = {}


def provides(convenience: str) -> Callable[[Callable], Callable]:
    """Marks the function that does what a convenience of the models promises.

    Args:
        convenience: `"recipe"`, from a class and a name to a model;
            `"checkpoint"`, from a class, a checkpoint and a backbone to a
            model; or `"weights"`, which gives a backbone those of a checkpoint.

    Returns:
        A decorator that changes nothing.
    """

    def register(function: Callable) -> Callable:
        _PROVIDED[convenience] = function
        return function

    return register


def provided(convenience: str) -> Callable[..., Any]:
    """The function that was marked for a convenience."""
    return _PROVIDED[convenience]
