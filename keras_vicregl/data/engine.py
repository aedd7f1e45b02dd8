"""What reads and decodes images: TensorFlow, or Python where there is none.

tf.data is the first choice of all backends, for it is the quicker one, and the
only one for views on the host, streams (TFDS) and data sets of its own. Without
TensorFlow threads of Python read the same examples in the same order.
"""

from __future__ import annotations

from typing import Any

from keras_vicregl._installed import missing

TENSORFLOW, PYTHON = "tensorflow", "python"


def has_tensorflow() -> bool:
    """Whether TensorFlow can be imported (nothing is)."""
    return not missing("tensorflow")


def choose_engine(engine: Any) -> str:
    """The engine that an argument asks for.

    Args:
        engine: `"auto"`, `"tensorflow"` or `"python"`.

    Returns:
        `"tensorflow"` or `"python"`.

    Raises:
        ValueError: If it is none of them.
    """
    if engine not in ("auto", TENSORFLOW, PYTHON):
        raise ValueError(
            f"engine must be 'auto', {TENSORFLOW!r} or {PYTHON!r}. Received: "
            f"engine={engine!r}"
        )
    if engine == "auto":
        return TENSORFLOW if has_tensorflow() else PYTHON
    return engine


def needs_tensorflow(what: str, instead: str = "") -> ModuleNotFoundError:
    """An error for what TensorFlow alone does, in one sentence.

    Args:
        what: In the plural, as the beginning of a sentence.
        instead: What to do without it, if anything.
    """
    missing = "" if has_tensorflow() else ", which is not installed"
    install = "" if has_tensorflow() else "`pip install tensorflow`"
    advice = ", or ".join(filter(None, (install, instead)))
    return ModuleNotFoundError(
        f"{what} need TensorFlow{missing}"
        + (f": {advice}." if advice else " (engine='tensorflow')."),
        name="tensorflow",
    )
