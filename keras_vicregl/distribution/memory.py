"""Memory of the devices of this process, where the backend tells."""

from keras_vicregl.distribution.backends.running import backend


def peak_memory() -> int | None:
    """The most memory that one device of this process has had in use.

    It is what the backend has given to arrays since the process began, or
    since its own function set that back; what it has reserved may be more.

    Returns:
        Bytes, of the device with most. `None` where the backend does not
        tell: on CPUs, on GPUs of Apple, on TPUs under TensorFlow.

    Example:

    >>> peak = peak_memory()
    >>> peak is None or peak > 0
    True
    """
    return max(backend.peaks_of_memory(), default=None)
