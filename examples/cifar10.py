"""CIFAR-10: classification after VICReg and VICRegL, and transfer to CamVid.

    python examples/cifar10.py                      # from TFDS, 3 seeds
    python examples/cifar10.py CIFAR --methods both --seeds 0
    python examples/cifar10.py CIFAR --camvid CAMVID  # transfer as well
    python examples/cifar10.py --table              # of what is stored

CIFAR is a folder `train/` and a folder `test/` with a folder of images for each
class; without it TFDS downloads the data set. Each method begins with the same
random weights of a seed: `random` leaves them, `vicreg` and `both` (VICRegL)
pretrain the network of the recipe "cifar10" on the 50,000 images of train,
without their labels. Of the frozen and pooled features follow, on the 10,000 of
test: a linear classifier and nearest neighbours, with all labels of train.

With `--camvid`, the folder that `photographs.py` takes, the same backbones are
frozen and put under a linear segmentation head, trained on the frames of
CamVid's train and judged on those of test. They have seen no frame before.

What a run has found - settings, logs of its epochs, figures, seconds of the
clock and of the processor, versions and hardware - is kept in
`guides/results/cifar10/` and `guides/results/cifar10_camvid/`, a file a run,
and left alone if it is there. Interrupted runs go on from their last
checkpoint, in `runs/cifar10/`. Nothing was chosen by the test split: see
`--split val`, for which a tenth of train is set aside, in pretraining too, and
whose results are kept elsewhere with `--results`.
"""

import functools
import os
import pathlib
import time

from _camvid import HEAD_EPOCHS, frozen, percentages, read_frames
from _settings import told
from _study import (
    add_run_options,
    classified,
    is_done,
    pretrained,
    read_results,
    rounded,
    settings_of,
    store,
    study_parser,
    surroundings,
    table,
)

RESULTS = pathlib.Path(__file__).parents[1] / "guides" / "results" / "cifar10"
METHODS = ("random", "vicreg", "both")
FIGURES = {"linear": "linear classifier", "knn": "nearest neighbours"}
TRANSFERRED = {"mean_iou": "mIoU", "pixel_accuracy": "pixel accuracy"}


def read_images(folder, split):
    """Images (N, 32, 32, 3) uint8 and labels (N,).

    Args:
        folder: with `train` and `test`; None for TFDS.
        split: "train" and "test" are whole; "val" is a tenth of train, and
            "train-val" the rest of it.
    """
    import numpy as np

    from keras_vicregl.data import load

    whole = "test" if split == "test" else "train"
    examples = list(load(folder or "cifar10", whole).examples())
    data = {
        name: np.stack([example[name] for example in examples])
        for name in ("images", "labels")
    }
    if split == whole:
        return data
    order = np.random.default_rng(0).permutation(len(examples))
    aside = len(examples) // 10
    chosen = order[:aside] if split == "val" else np.sort(order[aside:])
    return {name: values[chosen] for name, values in data.items()}


def trained_model(method, seed, arguments, images):
    """The pretrained model, its logs and seconds, and the recipe."""
    from keras_vicregl.data import load
    from keras_vicregl.recipes import RECIPES

    recipe = RECIPES["cifar10"]
    recipe = recipe.replace(epochs=arguments.epochs or recipe.epochs)
    folder = arguments.runs / f"{method}-{seed}"
    is_new, begun = not folder.exists(), time.process_time()
    model, history, seconds = pretrained(
        recipe, method, seed, recipe.epochs, folder, load(images("train"))
    )
    used = time.process_time() - begun
    seconds = {
        "training_seconds": round(seconds, 1),
        # Of runs in one piece.
        "training_cpu_seconds": round(used, 1) if is_new else None,
    }
    return model, history, seconds, recipe


def run(method, seed, arguments, images, frames):
    """Trains, judges and stores one run, and how it transfers."""
    path = arguments.results / f"{method}-{seed}.json"
    transferred = transfer_folder(arguments.results) / path.name
    studies = [
        study
        for study, to in (("classes", path), ("transfer", transferred))
        if (frames or study == "classes") and not is_done(to, arguments)
    ]
    if not studies:
        return
    model, history, seconds, recipe = trained_model(
        method, seed, arguments, images
    )
    facts = {
        "method": method,
        "seed": seed,
        "split": arguments.split,
        "recipe": settings_of(recipe),
    }
    if "classes" in studies:
        figures = classified(
            model.backbone,
            images("train"),
            images("test"),
            seed,
            preprocess=recipe.make_views().normalization,
        )
        result = {
            **facts,
            "figures": figures,
            **seconds,
            "history": rounded(history),
        }
        store({**result, **surroundings()}, path)
        print(f"{path.stem}: {figures}", flush=True)
    if "transfer" in studies:
        figures = percentages(
            frozen(
                model.backbone,
                frames("train"),
                frames(arguments.split),
                seed,
                preprocess=recipe.make_views().normalization,
            )
        )
        result = {**facts, "figures": figures, "head_epochs": HEAD_EPOCHS}
        store({**result, **surroundings()}, transferred)
        print(f"{path.stem}: mIoU {figures['mean_iou']:.1f} %", flush=True)


def transfer_folder(results):
    """Where the figures on CamVid of the runs in a folder are."""
    return results.with_name(f"{results.name}_camvid")


def print_tables(folder):
    """Those of the studies of which there are results."""
    print(table(read_results(folder), FIGURES, timed=True))
    transferred = read_results(transfer_folder(folder))
    if transferred:
        print("\n" + table(transferred, TRANSFERRED))


def parse_arguments():
    parser = study_parser(__doc__, RESULTS, "runs/cifar10")
    add = parser.add_argument
    add("cifar", nargs="?", type=pathlib.Path, help="folder of the images")
    add("--camvid", type=pathlib.Path, help="folder of CamVid's frames")
    add("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    add_run_options(parser)
    return parser.parse_args()


def main():
    arguments = parse_arguments()
    if not arguments.table:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        of_test = arguments.split == "test"
        splits = {
            "train": "train" if of_test else "train-val",
            "test": arguments.split,
        }

        # Read when they are asked for, and once.
        @functools.cache
        def images(name):
            return read_images(arguments.cifar, splits[name])

        frames = arguments.camvid and functools.cache(
            functools.partial(read_frames, arguments.camvid)
        )
        with told():
            for seed in arguments.seeds:
                for method in arguments.methods:
                    run(method, seed, arguments, images, frames)
    print_tables(arguments.results)


if __name__ == "__main__":
    main()
