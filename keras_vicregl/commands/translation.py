"""Messages of functions, said with the options of a command.

Functions speak of their arguments, as `allow_changes=True`. Who has typed a
command can give none, but an option. `PHRASES` has what messages that commands
may print say of arguments; tests hold that these are words of the package.
"""

from __future__ import annotations

import functools
import re

_DATA = ("pretrain", "evaluate")
_FEATURES = ("evaluate", "embed")
_READERS = (*_DATA, "embed")
_ALL = ("pretrain", "evaluate", "embed", "export", "convert")

PHRASES: tuple[tuple[tuple[str, ...], str, str], ...] = (
    # Images.
    (_DATA, "by on_error='skip'", "by --data-options on_error=skip"),
    (("embed",), ", or leave them out by on_error='skip'", ""),
    (_ALL, ", read them by read=function", ""),
    (_ALL, ", or pass read, a function that makes them so", ""),
    (_READERS, ": no_data={} makes", ": --data-options no_data={} makes"),
    (
        _READERS,
        "Pass channels=3, which makes three of one",
        "Give --data-options channels=3, which makes three of one",
    ),
    (
        _READERS,
        "pages='channels' makes them channels of one image, pages='examples' "
        "images of their own",
        "--data-options pages=channels makes them channels of one image, "
        "pages=examples images of their own",
    ),
    (_DATA, "load(path) of this file alone", "FOLDER as this file alone"),
    (
        _DATA,
        "pass its folder as data_dir",
        "give its folder by --data-options data_dir=FOLDER",
    ),
    (
        _DATA,
        "looked for in manual_dir",
        "looked for in the folder of --data-options manual_dir=FOLDER",
    ),
    (
        _DATA,
        "Pass class_names if they are, or labels=False.",
        "Give --data-options 'class_names=[\"NAME\",...]' if they are, or "
        "labels=false.",
    ),
    (
        _DATA,
        "Pass labels=False, or class_names if they are classes.",
        "Give --data-options labels=false, or 'class_names=[\"NAME\",...]' if "
        "they are classes.",
    ),
    (
        _DATA,
        "Pass class_names, or labels=False.",
        "Give --data-options 'class_names=[\"NAME\",...]', or labels=false.",
    ),
    (
        _DATA,
        "class_names were given",
        "--data-options class_names were given",
    ),
    # Splits.
    (("pretrain", "embed"), "split={} must be a", "--split {} must be a"),
    (("evaluate",), "split={} must be a", "the split {} must be a"),
    (_ALL, "Pass split=None for all of it.", "The word none takes all of it."),
    (
        ("pretrain", "embed"),
        "Pass split for some of them, as split={} or split={}.",
        "Take some of them by --split {} or --split {}.",
    ),
    (
        ("evaluate",),
        "Pass split for some of them, as split={} or split={}.",
        "Take some of them by --train-split and --test-split.",
    ),
    (
        ("pretrain",),
        "Pass split for some of them, or class_names if these are classes.",
        "Take some of them by --split, or give --data-options "
        "'class_names=[\"NAME\",...]' if these are classes.",
    ),
    (
        ("embed",),
        "Pass split for some of them, or class_names if these are classes.",
        "Take some of them by --split.",
    ),
    (
        ("evaluate",),
        "Pass split for some of them, or class_names if these are classes.",
        "Take some of them by --train-split and --test-split, or give "
        "--data-options 'class_names=[\"NAME\",...]' if these are classes.",
    ),
    # Masks.
    (
        _DATA,
        "load(mask_labels={{0: 0, 255: 1}}) makes one of 255, which is "
        "ignore_label otherwise",
        '--data-options \'mask_labels={{"0":0,"255":1}}\' makes one of 255, '
        "which is left out otherwise",
    ),
    (
        _DATA,
        "Pass it as ignore_label, here or to load.",
        "Leave it out by --data-options ignore_label=N.",
    ),
    (
        _DATA,
        "pass ignore_label instead",
        "give --data-options ignore_label=N instead",
    ),
    (_DATA, "segmentation_masks of ", "masks of "),
    (
        _DATA,
        "has no masks: pass masks.",
        "has no masks: name their folder with --train-masks.",
    ),
    (
        _DATA,
        "Pass the folder of the images alone, and that of the masks as masks.",
        "Give the folder of the images alone, and that of the masks by "
        "--train-masks.",
    ),
    (
        ("embed",),
        "Pass the folder of the images alone, and that of the masks as masks.",
        "Give the folder of the images alone.",
    ),
    (
        _ALL,
        "Pass the images alone, as a list of files, and the others as masks.",
        "Move the others into a folder of their own, which --train-masks of "
        "evaluate and pretrain takes.",
    ),
    # Sizes.
    (_FEATURES, "Pass size, the side", "Give --size, the side"),
    (
        _FEATURES,
        "resize={} needs a size to cut out",
        "--resize {} needs --size, the side of what is cut out",
    ),
    (
        _FEATURES,
        "resize must be at least size={}, which is cut out of it. Received: "
        "resize=",
        "--resize must be at least --size {}, which is cut out of it. "
        "Received: --resize ",
    ),
    # Views.
    (
        ("pretrain",),
        "make them on the device, by MultiView(on='device') here and in "
        "VICRegL(views=...) (of a script: --views on=device)",
        "make them on the device, by --views on=device",
    ),
    (
        ("pretrain",),
        "multi_view makes views of {}: MultiView(channels={}), or "
        "MultiView.for_channels.",
        "views are of {}: give --views channels={}.",
    ),
    (
        ("pretrain",),
        "MultiView(value_range=(0, 65535)) for 16 bits, (0, 4095) for 12, "
        "(0, 255) for what is of 8, or "
        "MultiView.for_channels(channel_statistics(images)), which looks.",
        "--views value_range=[0,65535] for 16 bits, [0,4095] for 12, [0,255] "
        "for what is of 8.",
    ),
    (
        ("pretrain",),
        "pass wider percentiles to channel_statistics, as (0, 100), or "
        "value_range=(low, high) to MultiView",
        "give --views value_range=[LOW,HIGH]",
    ),
    (
        ("pretrain",),
        "Pass canvas=(height, width) of the largest",
        "Give --canvas PIXELS, the side of the largest,",
    ),
    # Training.
    (
        ("pretrain",),
        "pass `allow_changes=True` to go on with what is now",
        "give --allow-changes to go on with what is now",
    ),
    (
        ("pretrain",),
        "as_backbone(model, batch_norm_momentum={})",
        "--model batch_norm_momentum={}",
    ),
    (
        ("pretrain",),
        "`pretrain(skip_nonfinite=1)` leaves out such a batch",
        "--skip-nonfinite 1 leaves out such a batch",
    ),
    (
        ("pretrain",),
        "do not fill a batch of batch_size={}. Lower it, or pass "
        "drop_remainder=False.",
        "do not fill a batch of --batch-size {}. Lower it.",
    ),
    (
        ("pretrain",),
        "Use a larger batch and `drop_remainder=True`.",
        "Use a larger --batch-size.",
    ),
    (("pretrain",), "Use `remat=False`.", "Use --model remat=false."),
    # Evaluations.
    (
        _FEATURES,
        "pass mean and std, or preprocess=None for images that are",
        "give --preprocessed if it normalises images itself",
    ),
    (
        _FEATURES,
        "pass preprocess=None for such as are what the backbone takes",
        "give --preprocessed if the model takes images as they are",
    ),
    (
        _FEATURES,
        "Make the backbone by keras_vicregl.models.backbones.as_backbone("
        "model, pixels='raw'), which gives it pixels of 0 to 255 in training, "
        "evaluation and export, or leave these layers out of it.",
        "Give --preprocessed, and it gets images as they are in files.",
    ),
    (_FEATURES, " (see WarnOnSlowNorms)", ", for want of steps"),
    (
        ("evaluate",),
        "Pass num_classes if that is right.",
        "Give --options PROTOCOL.num_classes=N if that is right.",
    ),
    # Exports.
    (
        ("export",),
        "`preprocessing=True`, but {} takes {} images: it normalises them "
        "already.",
        "{} takes {} images, which it normalises already: give --raw to export "
        "it as it is.",
    ),
    (
        ("export",),
        "pass mean and std, or preprocess=None for images that are",
        "give --raw, and it takes normalised images",
    ),
    (("export",), "`path` {} exists", "PATH {} exists"),
    (
        ("export",),
        "`format` must be one of {}, or None with a path that ends in",
        "must end in",
    ),
    (("export",), "Received: format={}, path=", "Received: "),
    (
        ("export",),
        "`layout={}` is of .pth files; {} has the format {}.",
        "--layout {} is of .pth files; {} has the format {}.",
    ),
    (
        ("convert",),
        "`stem` must be one of {}, or None for a checkpoint of as many "
        "channels as the model.",
        "--stem must be one of {}, or left out for a checkpoint of as many "
        "channels as --channels.",
    ),
)


def in_options(text: str, command: str) -> str:
    """What a message says, with options in the place of arguments.

    Args:
        text: of an error or a warning, in one line.
        command: that prints it.

    Example:

    >>> in_options("Go on, or leave them out by on_error='skip'.", "evaluate")
    'Go on, or leave them out by --data-options on_error=skip.'
    """
    for pattern, words in _patterns(command):
        for found in reversed([*pattern.finditer(text)]):
            said = words.format(*found.groups())
            text = text[: found.start()] + said + text[found.end() :]
    return text


@functools.cache
def _patterns(command: str) -> list[tuple[re.Pattern[str], str]]:
    return [
        (re.compile(_expression(phrase)), said)
        for commands, phrase, said in PHRASES
        if command in commands
    ]


def _expression(phrase: str) -> str:
    """A regular expression for a phrase in which `{}` is any value."""
    parts = phrase.split("{}")
    return "(.+?)".join(
        re.escape(part.replace("{{", "{").replace("}}", "}")) for part in parts
    )
