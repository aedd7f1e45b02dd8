"""Images of any channels and depth, and the pixels that they are of."""

import numpy as np

# Channels, dtype and the range of values that becomes [0, 1].
KINDS = [
    (1, "uint8", None),
    (4, "uint8", None),
    (1, "uint16", (0, 65535)),
    (3, "uint16", (100, 4000)),
    (4, "uint16", (0, 4095)),
    (13, "float32", (-0.2, 1.7)),
    (2, "float32", ((-1000.0, 3000.0), (0.0, 1e-3))),
]


def kind_name(kind):
    channels, dtype, value_range = kind
    return f"{channels}-{dtype}" + "-own" * (np.ndim(value_range) == 2)


def raw_of(pixels, dtype, value_range):
    """Images (..., C) whose pixels, of 255, are those given."""
    if value_range is not None:
        low, high = np.moveaxis(np.float64(value_range), -1, 0)
        pixels = low + np.float64(pixels) / 255 * (high - low)
    if np.issubdtype(dtype, np.integer):
        pixels = np.rint(pixels)
    return np.asarray(pixels, dtype)


def pixels_of(images, value_range):
    """The float64 definition: what is seen of images, of 255."""
    images = np.float64(images)
    if value_range is None:
        return images
    low, high = np.moveaxis(np.float64(value_range), -1, 0)
    return 255 * np.clip((images - low) / (high - low), 0, 1)


def ramps(source, channels, dtype, value_range, step):
    """An image whose pixels are `step` times the column or the row, in turn."""
    row, column = np.mgrid[: source[0], : source[1]]
    planes = [step * (row if c % 2 else column) for c in range(channels)]
    return raw_of(np.stack(planes, axis=-1), dtype, value_range)
