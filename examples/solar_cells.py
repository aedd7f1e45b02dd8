"""Solar cells: what pretraining without labels is worth on one channel.

    pip install elpv-dataset
    python examples/solar_cells.py                  # everything, 3 seeds
    python examples/solar_cells.py --methods both --seeds 0
    python examples/solar_cells.py --table          # of what is stored

The 2,624 electroluminescence pictures of the package `elpv-dataset`, 300 x 300
pixels of one channel, are split by modules of cells (`_elpv.py`). Each method
begins with the same random weights of a seed: `random` leaves them, `vicreg`
and `both` (VICRegL) pretrain on the pictures of train and val without their
labels, `supervised` learns to tell defective cells with all labels of both. Of
each backbone follow, on the cells of test: nearest neighbours and a linear
classifier on frozen features, with all labels, and the whole network fine-tuned
with 5 % of the labels.

Accuracies are of as many functional cells as defective ones: chance is 50 %.

What a run has found - settings, logs of its epochs, figures, seconds of the
clock and of the processor, versions and hardware - is kept in
`guides/results/elpv/`, a file a run, and left alone if it is there. Interrupted
runs go on from their last checkpoint, in `runs/elpv/`. Nothing was chosen by
the test split: see `--split val`, which trains on train alone and whose results
are kept elsewhere with `--results`.
"""

import functools
import os
import pathlib
import time

from _elpv import even, part, read_cells
from _settings import told
from _study import (
    add_run_options,
    classified,
    is_done,
    percent,
    pretrained,
    read_results,
    rounded,
    settings_of,
    store,
    study_parser,
    surroundings,
)
from _study import table as figures_table

RESULTS = pathlib.Path(__file__).parents[1] / "guides" / "results" / "elpv"
SUPERVISED = "supervised"
METHODS = ("random", "both", SUPERVISED)
# Of whole cells, as evaluations see them.
SIDE = 160
FRACTION = 0.05
FINETUNING = {
    "scale": (0.5, 1.0),
    "epochs": 40,
    "batch_size": 20,
    "learning_rate": 0.03,
    "backbone_learning_rate": 0.01,
}
# With all labels: rate of AdamW at its height, and passes over the cells.
RATE, PASSES = 2e-3, 15
TITLES = {
    "random": "random weights",
    "vicreg": "VICReg",
    "both": "VICRegL",
    SUPERVISED: "supervised, all labels",
}
FIGURES = {
    "knn": "nearest neighbours",
    "linear": "linear classifier",
    "finetuned": "fine-tuned, 5 % of labels",
}


def recipe_of(images):
    """How cells are pretrained on, normalised as these are."""
    from keras_vicregl.data import channel_statistics
    from keras_vicregl.recipes import Recipe

    found = channel_statistics(images, value_range=(0, 255))
    return Recipe(
        name="solar_cells",
        data="elpv",
        time="",
        accuracy="",
        backbone="small_resnet",
        # 96 px become 6 x 6 positions.
        backbone_arguments={
            "widths": [16, 32, 64, 128],
            "strides": [2, 2, 2, 1],
            "input_shape": [None, None, 1],
        },
        model={
            "alpha": 0.75,
            "expander_units": [512, 512, 512],
            "local_expander_units": [128, 128, 128],
            "num_matches": [12, 12],
        },
        # What `MultiView.for_channels` has, but for sizes.
        views={
            "groups": [
                {
                    "size": 96,
                    "count": 2,
                    "scale": [0.1, 0.6],
                    "blur": [0.5],
                    "blur_sigma": [0.1, 1.0],
                    "solarize": [0.0],
                }
            ],
            "channels": 1,
            "value_range": [0, 255],
            "mean": list(found.pixel_mean),
            "std": list(found.pixel_std),
            **dict.fromkeys(("saturation", "hue", "grayscale"), 0.0),
            "gamma": 0.3,
            "noise": 0.05,
        },
        optimizer="adamw",
        optimizer_arguments={"weight_decay": 1e-4},
        base_learning_rate=0.008,
        batch_size=64,
        epochs=10,
        warmup_epochs=3,
    )


def learn_labels(backbone, recipe, cells, seed):
    """Trains a backbone to tell classes; the loss of each pass."""
    import keras

    from keras_vicregl.data import load, view_batches

    group = {
        "size": 128,
        "count": 1,
        "scale": [0.4, 1.0],
        "blur": [0.0],
        "solarize": [0.0],
    }
    batches = view_batches(
        load(cells),
        recipe.make_views(groups=[group]),
        batch_size=recipe.batch_size,
        seed=seed,
    )
    steps = PASSES * (len(cells["labels"]) // recipe.batch_size)
    model = keras.Sequential(
        [
            backbone,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )
    model.compile(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(RATE, steps),
            weight_decay=1e-4,
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    losses = []
    for _ in range(PASSES):
        sums = [
            float(model.train_on_batch(inputs["views"][0], labels))
            for inputs, labels in batches
        ]
        losses.append(sums[-1])  # Keras' running mean
    return losses


def figures_of(backbone, recipe, train, test, seed):
    """Accuracies in percent, and the seconds of the fine-tuning."""
    from keras_vicregl.evaluation import evaluate_finetuning

    sides = {"size": SIDE, "resize": SIDE}
    accuracies = classified(
        backbone,
        even(train),
        even(test),
        seed,
        **sides,
        preprocess=recipe.make_views().normalization,
    )
    begun = time.monotonic()
    tuned = evaluate_finetuning(
        backbone,
        train,
        even(test),
        fraction=FRACTION,
        **sides,
        **FINETUNING,
        seed=seed,
        mean=tuple(recipe.views["mean"]),
        std=tuple(recipe.views["std"]),
    )
    seconds = time.monotonic() - begun
    accuracies["finetuned"] = percent(tuned["top1"])
    return accuracies, round(seconds, 1)


def run(method, seed, arguments, cells):
    """Trains, judges and stores one run."""
    path = arguments.results / f"{method}-{seed}.json"
    if is_done(path, arguments):
        return
    from keras_vicregl.data import load

    cells = cells()
    of_test = arguments.split == "test"
    train = part(cells, "train", *(["val"] if of_test else []))
    test = part(cells, arguments.split)
    recipe = recipe_of(train["images"])
    if arguments.epochs:
        recipe = recipe.replace(epochs=arguments.epochs)
    folder = arguments.runs / f"{method}-{seed}"
    is_new = not folder.exists()
    begun, begun_cpu = time.monotonic(), time.process_time()
    model, history, seconds = pretrained(
        recipe,
        "random" if method == SUPERVISED else method,
        seed,
        recipe.epochs,
        folder,
        load(train["images"]),
    )
    if method == SUPERVISED:
        history = {
            "loss": learn_labels(model.backbone, recipe, even(train), seed)
        }
        seconds = time.monotonic() - begun
    cpu_seconds = time.process_time() - begun_cpu
    figures, tuning_seconds = figures_of(
        model.backbone, recipe, train, test, seed
    )
    store(
        {
            "method": method,
            "seed": seed,
            "split": arguments.split,
            "cells": {
                "train": len(train["labels"]),
                "test": len(test["labels"]),
            },
            "recipe": settings_of(recipe),
            "supervised": {"rate": RATE, "passes": PASSES},
            "finetuning": {**FINETUNING, "fraction": FRACTION, "size": SIDE},
            "figures": figures,
            "training_seconds": round(seconds, 1),
            # Of runs in one piece.
            "training_cpu_seconds": round(cpu_seconds, 1) if is_new else None,
            "finetuning_seconds": tuning_seconds,
            "history": rounded(history),
            **surroundings(),
        },
        path,
    )
    print(f"{path.stem}: {figures}", flush=True)


def title(method):
    """A method in words."""
    return TITLES[method]


def table(results):
    """Markdown: mean and standard deviation over seeds, and the time."""
    return figures_table(
        results, FIGURES, timed=True, titles=TITLES, first="start"
    )


def parse_arguments():
    parser = study_parser(__doc__, RESULTS, "runs/elpv")
    add = parser.add_argument
    add("--methods", nargs="+", default=list(METHODS))
    add_run_options(parser)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if not arguments.table:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        # Read when they are asked for, and once.
        cells = functools.cache(read_cells)
        with told():
            for seed in arguments.seeds:
                for method in arguments.methods:
                    run(method, seed, arguments, cells)
    print(table(read_results(arguments.results)))


if __name__ == "__main__":
    main()
