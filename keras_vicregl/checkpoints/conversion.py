"""Weights of our models from PyTorch state dicts, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_vicregl._installed import check_torch
from keras_vicregl.checkpoints._differences import differences
from keras_vicregl.checkpoints.foreign import (
    backbone_weights,
    unknown_prefix,
    without_wrappers,
)
from keras_vicregl.checkpoints.layouts import (
    check_layout,
    from_layouts,
    in_layout,
)
from keras_vicregl.checkpoints.published import PUBLISHED, find_checkpoint
from keras_vicregl.checkpoints.stems import STEMS, check_stem, fit_stem
from keras_vicregl.checkpoints.torch_files import (
    read_state_dict,
    write_state_dict,
)
from keras_vicregl.models.backbones.convnext import ConvNeXt
from keras_vicregl.models.backbones.registry import BACKBONES, state_dict_layout
from keras_vicregl.models.backbones.registry import backbone as named_backbone
from keras_vicregl.models.backbones.state_dict import (
    StateDictEntry,
    layer_entries,
)
from keras_vicregl.models.extensions import provides
from keras_vicregl.models.vicregl import VICRegL

_BACKBONE = "backbone."
_HEADS = ("maps_projector.", "projector.", "classifier.")
_PARTS = ("backbone", "maps_projector", "projector", "classifier")


@provides("weights")
def load_checkpoint(
    model: keras.Model,
    checkpoint: str | os.PathLike,
    *,
    stem: str | None = None,
) -> None:
    """Gives a model the weights of a PyTorch checkpoint.

    A backbone takes plain checkpoints, and its part of full ones and of those
    of torchvision and of other methods: what stands before its keys (`module.`,
    `encoder_q.`, `backbone.` and the like, see `checkpoints.foreign`) is taken
    off, and classifiers, projectors and second networks are left out, which one
    warning names. A ConvNeXt may have the names of the published code, of
    torchvision or of timm, which all have layer scale: build it with
    `layer_scale=1.0`. A `VICRegL` takes full ones, with the heads that it has
    itself and no others (`VICRegL.from_checkpoint` is freer).

    Args:
        model: a `ResNet` or `ConvNeXt` of this package, or a `VICRegL` around
            one. All its weights are replaced, or none.
        checkpoint: a `.pth` file, the state dict itself or with it under a
            key such as "state_dict", or a key of `PUBLISHED`, which is
            downloaded.
        stem: for a model of another number of channels than the checkpoint,
            how its first convolution is made: `"cycle"` takes the filters of
            red, green and blue in turn, `"mean"` their mean for all channels.
            With either, copies of a grey image in all channels give the same
            map as in the checkpoint's (see `stems.stem_of_channels`).

    Raises:
        FileNotFoundError: if it is neither.
        ImportError: if PyTorch is not installed.
        ValueError: if `stem` is none of these, if the file is no checkpoint, or
            if its keys and shapes are
            not exactly the model's, what is left out aside; all that differ
            are listed. (The counters of batch norms, which Keras does not have,
            may be missing.)
        TypeError: if the model is of another class.
    """
    check_stem(stem)
    check_torch()  # before anything is downloaded
    whole = isinstance(model, VICRegL)
    layout = model_layout(model)
    state_dict = read_state_dict(find_checkpoint(checkpoint, full=whole))
    if whole:
        state_dict = without_wrappers(state_dict, _PARTS)
    else:
        if isinstance(model, ConvNeXt):
            state_dict = from_layouts(state_dict, layout)
        state_dict = backbone_weights(state_dict, layout)
    if stem is not None:
        state_dict = fit_stem(layout, state_dict, stem)
    try:
        assign_state_dict(model, state_dict)
    except ValueError as error:
        raise ValueError(f"{os.fspath(checkpoint)}: {error}") from None


@provides("checkpoint")
def model_from_checkpoint(
    model_class: type[VICRegL],
    checkpoint: str | os.PathLike,
    backbone: keras.Model | str | None = None,
    *,
    stem: str | None = None,
    **kwargs: Any,
) -> VICRegL:
    """`VICRegL.from_checkpoint`, which see.

    Args:
        model_class: `VICRegL` or a class derived from it.
        checkpoint: file or published name.
        backbone: model or name.
        stem: see `load_checkpoint`.
        **kwargs: further arguments of the class.

    Returns:
        An instance of `model_class`.

    Raises:
        ValueError: if the checkpoint is no full one, or of another backbone.
    """
    check_stem(stem)
    check_torch()
    if published := PUBLISHED.get(str(checkpoint)):
        kwargs.setdefault("alpha", published.alpha)
        backbone = backbone or published.backbone
    if backbone is None:
        raise ValueError(
            "`backbone` must be given with a file: a ResNet or ConvNeXt, or "
            f"one of the names {', '.join(BACKBONES)}."
        )
    state_dict = without_wrappers(
        read_state_dict(find_checkpoint(checkpoint, full=True)), _PARTS
    )
    try:
        arguments = {**head_arguments(state_dict), **kwargs}
        if isinstance(backbone, str):
            backbone = named_backbone(backbone)
        model = model_class(backbone, **arguments)
        # A head that the caller's arguments leave out is left out.
        layout = model_layout(model)
        if stem is not None:
            state_dict = fit_stem(layout, state_dict, stem)
        absent = tuple(
            head
            for head in _HEADS
            if not any(key.startswith(head) for key in layout)
        )
        assign_state_dict(
            model,
            {k: v for k, v in state_dict.items() if not k.startswith(absent)},
        )
    except ValueError as error:
        raise ValueError(f"{os.fspath(checkpoint)}: {error}") from None
    return model


def save_checkpoint(
    model: keras.Model, path: str | os.PathLike, *, layout: str = "published"
) -> None:
    """Writes a model's weights as a PyTorch checkpoint.

    A backbone gives a plain state dict. A ResNet's is loaded by torchvision's
    and timm's, but for their classifier; a ConvNeXt's by the published code, or
    with `layout` by torchvision's and timm's. A `VICRegL` gives a full
    checkpoint.

    Args:
        model: as in `load_checkpoint`.
        path: the file to write; it appears when it is complete.
        layout: as in `to_state_dict`.

    Raises:
        ImportError: if PyTorch is not installed.
        TypeError: if the model is of another class.
        ValueError: as in `to_state_dict`.
    """
    check_torch()
    write_state_dict(
        to_state_dict(model, layout=layout),
        path,
        full=isinstance(model, VICRegL),
    )


def to_state_dict(
    model: keras.Model, *, layout: str = "published"
) -> dict[str, np.ndarray]:
    """A model's weights under the keys and in the axes of PyTorch.

    Args:
        model: as in `load_checkpoint`.
        layout: whose keys they are: `"published"`, those of the published
            code, `"torchvision"` or `"timm"`. These differ for a ConvNeXt
            alone. The two have factors of layer scale in every block, which
            are 1 where the model has none, and apply the last norm behind the
            pooling; as `classifier.0` and `head.norm` it is the model's own.

    Returns:
        Dictionary from key to array, in the order of the published
        checkpoints. Axes are permuted and nothing is computed, so that the way
        there and back is exact to the bit, but for the `num_batches_tracked` of
        batch norms: Keras has no such counters, and they come back as 0.

    Raises:
        TypeError: if the model is of another class.
        ValueError: if `layout` is none of these, or the model is a `VICRegL`
            and it is another than `"published"`.

    Example:

    >>> from keras_vicregl.models.backbones import ConvNeXt, ResNet
    >>> weights = to_state_dict(ResNet((1,), widths=(8,), strides=(1,)))
    >>> weights["conv1.weight"].shape
    (8, 3, 7, 7)
    >>> weights = to_state_dict(ConvNeXt((1,), widths=(8,)), layout="timm")
    >>> weights["stages.0.blocks.0.mlp.fc1.weight"].shape
    (32, 8)
    """
    check_layout(layout)
    if layout != "published" and isinstance(model, VICRegL):
        raise ValueError(
            f"`layout={layout!r}` is of backbones, but {model.name!r} is a "
            "VICRegL. Pass its `backbone`."
        )
    weights = {
        key: entry.to_torch() for key, entry in model_layout(model).items()
    }
    if layout != "published" and isinstance(model, ConvNeXt):
        return in_layout(weights, layout)
    return weights


def assign_state_dict(
    model: keras.Model, state_dict: Mapping[str, np.ndarray]
) -> None:
    """Gives a model the weights of a PyTorch state dict, strictly.

    Args:
        model: as in `load_checkpoint`.
        state_dict: arrays by key, as `to_state_dict` gives them.

    Raises:
        ValueError: if keys or shapes are not exactly the model's; all that
            differ are listed, and no weight has changed.
        TypeError: if the model is of another class.
    """
    layout = model_layout(model)
    problems = differences(layout, state_dict)
    if problems:
        raise ValueError(
            f"the checkpoint does not fit {model.name!r}.\n"
            + "\n".join(problems)
            + _advice(model, state_dict)
        )
    for key, entry in layout.items():
        if entry.variable is not None:
            entry.assign(np.asarray(state_dict[key]))


def model_layout(model: keras.Model) -> dict[str, StateDictEntry]:
    """State-dict keys of a backbone or of a whole `VICRegL`.

    Args:
        model: as in `load_checkpoint`.

    Returns:
        Ordered dictionary from key to `StateDictEntry`.

    Raises:
        TypeError: if the model is of another class.
    """
    if not isinstance(model, VICRegL):
        return state_dict_layout(model)
    layout = {
        _BACKBONE + key: entry
        for key, entry in state_dict_layout(model.backbone).items()
    }
    # A Sequential of PyTorch numbers its modules; ours has the same ones.
    for name, expander in (
        ("maps_projector", model.local_expander),
        ("projector", model.expander),
    ):
        for index, layer in enumerate(expander.layers if expander else ()):
            if layer.weights:
                for part, entry in layer_entries(layer):
                    layout[f"{name}.{index}.{part}"] = entry
    if model.classifier is not None:
        for part, entry in layer_entries(model.classifier):
            layout[f"classifier.{part}"] = entry
    return layout


def head_arguments(state_dict: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What `VICRegL` is to be built with to take a full checkpoint.

    Widths are read off the linear layers' shapes; the normalization off the
    running statistics, which only batch normalisation has.

    Args:
        state_dict: of a full checkpoint.

    Returns:
        `normalization`, `num_classes` and, of the expanders that there are,
        `expander_units` and `local_expander_units`: arguments of `VICRegL`.

    Raises:
        ValueError: if there is no expander, or a part of one is missing.
    """
    arguments: dict[str, Any] = {}
    for head, argument in (
        ("projector", "expander_units"),
        ("maps_projector", "local_expander_units"),
    ):
        if widths := _linear_widths(state_dict, head):
            arguments[argument] = widths
    if not arguments:
        raise ValueError(
            "the checkpoint has no expanders ('projector', 'maps_projector'): "
            "it is not a full one. Load it into a backbone instead."
        )
    running = any(
        key.startswith(_HEADS) and key.endswith("running_mean")
        for key in state_dict
    )
    arguments["normalization"] = "batch" if running else "layer"
    classes = [
        value.shape[0]
        for key, value in state_dict.items()
        if key.startswith("classifier.")
    ]
    arguments["num_classes"] = classes[0] if classes else None
    return arguments


def _linear_widths(
    state_dict: Mapping[str, np.ndarray], head: str
) -> tuple[int, ...]:
    """Widths of the linear layers 0, 3, 6 ... of an expander."""
    indices = {
        int(key.split(".")[1])
        for key in state_dict
        if key.startswith(f"{head}.")
    }
    if not indices:
        return ()
    # A norm is followed by a ReLU and another linear layer.
    keys = [f"{head}.{i}.weight" for i in range(0, max(indices) + 3, 3)]
    missing = [key for key in keys if key not in state_dict]
    if missing:
        raise ValueError(
            f"the checkpoint is not complete.\nMissing ({len(missing)}): "
            f"{', '.join(missing)}"
        )
    return tuple(state_dict[key].shape[0] for key in keys)


def _advice(model: keras.Model, state_dict: Mapping[str, np.ndarray]) -> str:
    full = any(key.startswith(_BACKBONE) for key in state_dict)
    if isinstance(model, VICRegL) and not full:
        return (
            "\nThis is the checkpoint of a backbone: load it into "
            "`model.backbone`."
        )
    layout = model_layout(model)
    first, entry = next(iter(layout.items()))
    shape = np.shape(state_dict.get(first, ()))
    if len(shape) == 4 and shape[1] != entry.shape[1]:
        return (
            f"\nThe checkpoint is of images of {shape[1]} channels, the model "
            f"of {entry.shape[1]}: say how to fit the first convolution, by "
            f"stem={' or stem='.join(map(repr, STEMS))}."
        )
    if any(k.endswith(".gamma") and k not in layout for k in state_dict):
        return (
            "\nThe checkpoint has factors of layer scale, and the model has "
            "none: build it with layer_scale=1.0."
        )
    names = [key for key, e in layout.items() if e.variable is not None]
    if prefix := unknown_prefix(state_dict, names):
        return (
            f"\nAll keys of the model are there after {prefix!r}, which is no "
            "prefix that is known: save the state dict without it."
        )
    return ""
