"""Tokens of a transformer as a feature map.

A vision transformer cuts images into patches and yields a token for each, row
by row, after some that stand for no patch: one of the class, some registers.
Without these its output is a feature map whose stride is the patch size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from keras_vicregl._warnings import warn

# What models have before their patches: a class and, in DINOv3, 4 registers.
_MOST_SPECIAL = 8


class Layout(NamedTuple):
    """How tokens lie in an image.

    Attributes:
        patch_size: rows and columns of a patch.
        special: tokens before those of the patches.
        guessed: whether their numbers alone say so.
    """

    patch_size: tuple[int, int]
    special: int
    guessed: bool


@keras.saving.register_keras_serializable(package="keras_vicregl")
class TokensToMap(keras.layers.Layer):
    """The tokens of an image's patches, as a feature map.

    `map[b, i, j] = tokens[b, special_tokens + i * w + j]`, with w patches in a
    row of the image.

    Args:
        patch_size: rows and columns of a patch, in pixels.
        special_tokens: tokens before those of the patches: class, registers.
        data_format: of the images, `"channels_last"` or `"channels_first"`.
        **kwargs: `name` and `dtype` of `keras.layers.Layer`.

    Inputs:
        Tokens (B, special_tokens + h w, F), and their images.

    Outputs:
        (B, h, w, F), h and w being the images' height and width divided by
        those of a patch.

    Raises:
        ValueError: if the tokens, where their number is known, are not so many.

    Example:

    >>> import numpy as np
    >>> tokens = np.arange(7.0).reshape(1, 7, 1)
    >>> layer = TokensToMap((16, 16), special_tokens=1)
    >>> maps = layer([tokens, np.zeros((1, 32, 48, 3))])
    >>> keras.ops.convert_to_numpy(maps)[0, ..., 0].tolist()
    [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    """

    def __init__(
        self,
        patch_size: tuple[int, int],
        special_tokens: int = 0,
        data_format: str = "channels_last",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.patch_size = tuple(patch_size)
        self.special_tokens = special_tokens
        self.data_format = data_format
        self.built = True

    def call(self, inputs: Any) -> Any:
        """Tokens (B, N, F) and images to (B, h, w, F)."""
        tokens, images = inputs
        rows, columns = self._grid(ops.shape(images))
        tokens = tokens[:, self.special_tokens :]
        return ops.reshape(tokens, (-1, rows, columns, tokens.shape[-1]))

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """(B, h, w, F), with `None` where the images' size is not known."""
        tokens, images = input_shape
        grid = self._grid(images)
        if None not in grid and tokens[1] not in (
            None,
            self.special_tokens + math.prod(grid),
        ):
            raise ValueError(
                f"Images {tuple(images[1:])} have {grid[0]} x {grid[1]} "
                f"patches of {self.patch_size[0]} x {self.patch_size[1]} px, "
                f"and {tokens[1]} tokens are not so many and "
                f"special_tokens={self.special_tokens} before them."
            )
        return (tokens[0], *grid, tokens[-1])

    def _grid(self, images: Any) -> list[Any]:
        last = self.data_format == "channels_last"
        sizes = images[1:3] if last else images[2:4]
        return [
            None if size is None else size // patch
            for size, patch in zip(sizes, self.patch_size, strict=True)
        ]

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {
            **super().get_config(),
            "patch_size": self.patch_size,
            "special_tokens": self.special_tokens,
            "data_format": self.data_format,
        }


def are_tokens(output: Any) -> bool:
    """Whether an output of a graph may be tokens (B, N, F)."""
    shape: Sequence[Any] = getattr(output, "shape", ())
    return len(shape) == 3 and shape[-1] is not None and shape[1] != 1


def layout_of(
    model: keras.Model,
    count: int | None,
    size: tuple[int | None, int | None],
    patch_size: int | tuple[int, int] | None = None,
    special_tokens: int | None = None,
) -> Layout:
    """How the tokens of a model lie in its images.

    Of what is not given, `patch_size` is what the model or one of its layers
    says, and `special_tokens` what is left of the tokens without the patches,
    or of a model for images of any size one and its `num_register_tokens`.
    Where no layer says, both are guessed of square patches.

    Args:
        model: that gives them.
        count: tokens, `None` where it depends on the images.
        size: height and width of the images, or `None`.
        patch_size: pixels along a side, or along each.
        special_tokens: tokens before those of the patches.

    Raises:
        ValueError: if there is no such layout, or nothing tells it.
    """
    known = patch_size or _said(model, "patch_size")
    if known is not None:
        rows, columns = (known, known) if isinstance(known, int) else known
        patch = int(rows), int(columns)
        if special_tokens is None:
            if count is None or None in size:
                special_tokens = 1 + (_said(model, "num_register_tokens") or 0)
            else:
                special_tokens = count - _patches(size, patch)
        layout = Layout(patch, special_tokens, False)
    elif count is None or None in size:
        raise ValueError(
            f"{model.name!r} gives tokens for images of any size, and nothing "
            "says how large its patches are: pass patch_size=16, or whatever "
            "it is."
        )
    else:
        layout = _guessed(model, count, size, special_tokens)
    if None in (count, *size):
        return layout
    expected = _patches(size, layout.patch_size) + layout.special
    if layout.special < 0 or expected != count:
        sides = " x ".join(map(str, layout.patch_size))
        raise ValueError(
            f"{model.name!r} gives {count} tokens for images of {size[0]} x "
            f"{size[1]} px, which are {_patches(size, layout.patch_size)} "
            f"patches of {sides} px and {layout.special} before them: pass the "
            "right `patch_size` and `special_tokens` (a class and registers)."
        )
    return layout


def tell(model: keras.Model, layout: Layout) -> None:
    """Says what was taken of tokens whose layout nobody has given."""
    if layout.guessed:
        rows, columns = layout.patch_size
        warn(
            f"The tokens of {model.name!r} are taken for {layout.special} that "
            f"stand for no patch, and after them patches of {rows} x "
            f"{columns} px, row by row. as_backbone(model, patch_size="
            f"{rows}, special_tokens={layout.special}) says so without this "
            "warning."
        )


def _guessed(
    model: keras.Model,
    count: int,
    size: tuple[Any, Any],
    special_tokens: int | None,
) -> Layout:
    few = range(_MOST_SPECIAL + 1)
    wanted = few if special_tokens is None else [special_tokens]
    for special in wanted:
        for patch in range(2, min(size) + 1):
            fits = not (size[0] % patch or size[1] % patch)
            pair = (patch, patch)
            if fits and _patches(size, pair) + special == count:
                return Layout(pair, special, True)
    raise ValueError(
        f"{model.name!r} gives {count} tokens for images of {size[0]} x "
        f"{size[1]} px, which are no square patches"
        + (
            f" with up to {_MOST_SPECIAL} tokens before them"
            if special_tokens is None
            else f" with special_tokens={special_tokens} before them"
        )
        + ": pass `patch_size` and `special_tokens`."
    )


def _patches(size: tuple[Any, Any], patch: tuple[int, int]) -> int:
    return (size[0] // patch[0]) * (size[1] // patch[1])


def _said(model: keras.Model, name: str) -> Any:
    """What a model, or else one of its layers, says of its tokens."""
    for each in (model, *model._flatten_layers(include_self=False)):
        value = getattr(each, name, None)
        if isinstance(value, (int, tuple, list)) and value:
            return value if isinstance(value, int) else tuple(value)
    return None
