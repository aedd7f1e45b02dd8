r"""Evaluate a backbone: what its features are worth.

    python examples/evaluate.py runs/scenes/backbone.keras --data digit_scenes
    python examples/evaluate.py resnet50 --weights resnet50_alpha0.9 \
        --data imagenet2012 --test-split validation --size 224 \
        --protocols knn linear --options linear.learning_rate=[0.003,0.01,0.03]
    python examples/evaluate.py resnet50 --weights resnet50_alpha0.9 \
        --data voc_segmentation:VOC2012 --test-split val \
        --protocols train_segmentation

The model is a file that `keras_vicregl.checkpoints.export` wrote (.keras, .onnx
or the folder of a SavedModel), or the name of a backbone, with --weights a
published checkpoint or a .pth file. Figures are printed, and with --output kept
as JSON.

Protocols on frozen features, which are computed once for all of them, for any
model:

    knn               k nearest neighbours
    linear            linear classifier
    rank              effective rank of the pooled features (RankMe)
    segmentation      linear segmentation head

Protocols that train on new crops in each epoch, or fine-tune, for Keras models:

    linear_augmented  the paper's linear classification
    finetuning        all weights; finetuning.fraction=0.01: semi-supervised
    train_segmentation  the paper's linear segmentation, or fine-tuned with
                      train_segmentation.frozen=false
    detection         RetinaNet, fine-tuned

--options PROTOCOL.NAME=VALUE, with values in JSON, are arguments of the
functions `keras_vicregl.evaluation.evaluate_...`, `train_segmentation` and
`train_detection`; detection.size, detection.batch_size and detection.shuffle
are those of `keras_vicregl.data.detection_batches`.

Classes of the two splits are matched by name; --data-options ignore_label=11
names a label of masks that is no class.

--data is what `keras_vicregl.data.load` takes, or voc_segmentation:FOLDER,
cityscapes:FOLDER, ade20k:FOLDER or camvid:FOLDER, with the labels of these
benchmarks.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib

from _settings import (
    ON_FEATURES,
    TEST_SPLITS,
    TRAIN_SPLITS,
    default_backend,
    find_split,
    setting,
    told,
)

TRAINED = ("linear_augmented", "finetuning", "train_segmentation", "detection")
# Functions of `keras_vicregl.data`, and their numbers of classes.
SEGMENTATION_SETS = {
    "voc_segmentation": 21,
    "cityscapes": 19,
    "ade20k": 150,
    "camvid": 11,
}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("model")
    add("--weights", help="published checkpoint or .pth file")
    add(
        "--data",
        default="digit_scenes",
        help="what keras_vicregl.data.load takes",
    )
    add(
        "--train-split",
        help="of a folder: folders in it, as train+val, or none for all of it; "
        "by default train, where there is such a split",
    )
    add("--test-split", help="likewise; by default test")
    add(
        "--data-options",
        nargs="+",
        type=setting,
        metavar="NAME=VALUE",
        default=[],
    )
    add("--train-masks", help="of a folder: the folder of its masks")
    add("--test-masks")
    add("--size", type=int, help="side that images are cut to, for features")
    add("--resize", type=int, help="their shorter side before that")
    add("--limit", type=int, help="images of a split, evenly spread")
    add(
        "--batch-size",
        type=int,
        default=256,
        help="images in a call of the model",
    )
    add(
        "--preprocessed",
        action="store_true",
        help="the model normalises images",
    )
    add(
        "--protocols",
        nargs="+",
        default=["knn", "linear"],
        choices=ON_FEATURES + TRAINED,
    )
    add(
        "--options",
        nargs="+",
        type=setting,
        metavar="PROTOCOL.NAME=VALUE",
        default=[],
    )
    add("--output", type=pathlib.Path, help="JSON file for the figures")
    add("--backend", default=default_backend())
    arguments = parser.parse_args()
    options = {protocol: {} for protocol in arguments.protocols}
    for name, value in arguments.options:
        protocol, _, argument = name.partition(".")
        if protocol not in options or not argument:
            parser.error(
                f"--options {name}: not PROTOCOL.NAME of one of --protocols"
            )
        options[protocol][argument] = value
    arguments.options = options
    return parser, arguments


def main():
    parser, arguments = parse_arguments()
    os.environ["KERAS_BACKEND"] = arguments.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401, slow after TensorFlow
    import keras

    from keras_vicregl import backbone
    from keras_vicregl.checkpoints import load_backbone
    from keras_vicregl.evaluation.detection.average_precision import (
        import_pycocotools,
    )
    from keras_vicregl.models.backbones import BACKBONES

    # What is missing is said before anything is computed.
    with told():
        if "detection" in arguments.protocols:
            import_pycocotools()
        if arguments.model in BACKBONES:
            model = backbone(arguments.model, weights=arguments.weights)
        elif arguments.weights:
            parser.error("--weights needs the name of a backbone, not a file")
        else:
            try:
                model = load_backbone(arguments.model)
            except (FileNotFoundError, ValueError) as error:
                parser.error(
                    f"{error} Names of backbones are {', '.join(BACKBONES)}."
                )
    surplus = [name for name in arguments.protocols if name in TRAINED]
    if surplus and not isinstance(model, keras.Model):
        parser.error(
            f"{', '.join(surplus)}: a SavedModel or ONNX file cannot be "
            f"trained on. Use its .keras file, or {', '.join(ON_FEATURES)}."
        )
    if arguments.preprocessed and {"linear_augmented", "finetuning"} & set(
        arguments.protocols
    ):
        parser.error(
            "--preprocessed: linear_augmented and finetuning normalise images."
        )
    with told():
        sources = open_splits(parser, arguments)
    if "detection" in arguments.protocols and not (
        arguments.size or arguments.options["detection"].get("size")
    ):
        parser.error("detection needs --size, or detection.size=[HEIGHT,WIDTH]")
    if "train_segmentation" in arguments.protocols and not (
        mask_classes(arguments)
        or "num_classes" in arguments.options["train_segmentation"]
    ):
        parser.error("train_segmentation.num_classes is needed for these data")
    print(f"{arguments.model} on {sources['train']!r}, {sources['test']!r}")

    figures = {}
    on_features = [p for p in arguments.protocols if p in ON_FEATURES]
    if on_features:
        try:
            figures |= evaluate_features(model, sources, on_features, arguments)
        except (TypeError, ValueError) as error:
            parser.error(f"{error} (--size and --options set arguments.)")
    for protocol in surplus:
        figures[protocol] = TRAININGS[protocol](
            model, sources, arguments, **arguments.options[protocol]
        )
    for protocol, values in figures.items():
        for name, value in values.items():
            print(f"{protocol:18} {name:20} {value:.4f}")
    if arguments.output:
        unfinished = arguments.output.with_name(arguments.output.name + ".tmp")
        unfinished.write_text(json.dumps(figures, indent=1) + "\n")
        os.replace(unfinished, arguments.output)


def open_splits(parser, arguments):
    """The images to train on and to test on, with one number a class."""
    from keras_vicregl.data import match_classes

    given = {"train": arguments.train_split, "test": arguments.test_split}
    usual = {"train": TRAIN_SPLITS, "test": TEST_SPLITS}
    splits = {
        part: find_split(arguments.data, given[part], usual[part])
        for part in given
    }
    if splits["test"] is None and given["test"] is None:
        if set(arguments.protocols) != {"rank"}:
            parser.error(
                f"{arguments.data} has no folder {', '.join(TEST_SPLITS)} to "
                "test on. Name one with --test-split; only rank needs none."
            )
        splits["test"] = splits["train"]
    sources = [open_split(arguments, *split) for split in splits.items()]
    return dict(zip(splits, match_classes(*sources), strict=True))


def open_split(arguments, part, split):
    """The images of a split, to `"train"` or to `"test"`."""
    from keras_vicregl import data

    options = dict(arguments.data_options)
    if masks := getattr(arguments, f"{part}_masks"):
        options["masks"] = masks
    if "detection" in arguments.protocols:
        options["boxes"] = True
    name, found, folder = arguments.data.partition(":")
    if found and name in SEGMENTATION_SETS:
        return getattr(data, name)(folder, split, **options)
    return data.load(arguments.data, split, **options)


def mask_classes(arguments):
    """The number of classes of masks, as an argument, where it is known."""
    from keras_vicregl.data import SEGMENTATION_CLASS_NAMES

    known = {**SEGMENTATION_SETS, "digit_scenes": len(SEGMENTATION_CLASS_NAMES)}
    name = arguments.data.partition(":")[0]
    return {"num_classes": known[name]} if name in known else {}


def evaluate_features(model, sources, protocols, arguments):
    """Figures of protocols that share one pass of the model."""
    from keras_vicregl import evaluation
    from keras_vicregl.evaluation.features.image_batches import label_in_batches

    train, test = (
        evaluation.extract_features(
            model,
            evaluation.image_batches(
                sources[part],
                size=arguments.size,
                resize=arguments.resize,
                limit=arguments.limit,
                batch_size=arguments.batch_size,
            ),
            # Maps only where they are needed: they take h * w the memory.
            pooled="segmentation" not in protocols,
            **preprocessing(arguments),
        )
        for part in ("train", "test")
    )
    of_labels = {"num_classes": sources["train"].num_classes}
    of_masks = mask_classes(arguments)
    figures = {}
    for protocol in protocols:
        options = arguments.options[protocol]
        if protocol == "rank":
            pooled = train["features"]
            if pooled.ndim == 4:
                pooled = pooled.mean(axis=(1, 2))
            rank = evaluation.effective_rank(pooled, **options)
            figures[protocol] = {"effective_rank": rank}
            continue
        if "ignore_label" in options:
            options["ignore_label"] = label_in_batches(
                options["ignore_label"], *sources.values()
            )
        function = getattr(evaluation, f"evaluate_{protocol}")
        classes = of_masks if protocol == "segmentation" else of_labels
        options = {**classes, **options}
        figures[protocol] = function(None, train, test, **options)
    return figures


def preprocessing(arguments):
    """What images go through before a model that takes them as they are."""
    return {"preprocess": None} if arguments.preprocessed else {}


def on_crops(function, model, sources, arguments, **options):
    """Figures of a function of `evaluation` that classifies random crops."""
    from keras_vicregl import evaluation

    defaults = {
        "size": arguments.size,
        "resize": arguments.resize,
        "num_classes": sources["train"].num_classes,
    }
    function = getattr(evaluation, function)
    return function(model, **sources, **{**defaults, **options})


def train_segmentation(model, sources, arguments, **options):
    from keras_vicregl.evaluation import train_segmentation

    defaults = {**preprocessing(arguments), **mask_classes(arguments)}
    return train_segmentation(
        model, **sources, **{**defaults, **options}
    ).figures


def detection(model, sources, arguments, **options):
    from keras_vicregl.data import detection_batches
    from keras_vicregl.evaluation import train_detection

    size = options.pop("size", arguments.size)
    size = (size, size) if isinstance(size, int) else size
    batch_size = options.pop("batch_size", 16)
    # As many decoded images as fit into a gigabyte.
    shuffle = options.pop("shuffle", 2**30 // (3 * size[0] * size[1]))
    names = sources["train"].box_class_names
    defaults = {"num_classes": None if names is None else len(names)}
    return train_detection(
        model,
        detection_batches(sources["train"], size, batch_size, shuffle=shuffle),
        detection_batches(sources["test"], size, batch_size),
        **{**defaults, **preprocessing(arguments), **options},
    ).figures


TRAININGS = {
    "linear_augmented": functools.partial(
        on_crops, "evaluate_augmented_linear"
    ),
    "finetuning": functools.partial(on_crops, "evaluate_finetuning"),
    "train_segmentation": train_segmentation,
    "detection": detection,
}

if __name__ == "__main__":
    main()
