"""Pretrain on digit scenes, evaluate, look at the features, export.

    make demo                                   # TensorFlow
    KERAS_BACKEND=jax make demo                 # or torch
    python examples/scenes_demo.py --ceiling --seeds 0 1 2 --output runs/scenes

The scenes are real handwritten digits over real photographs, both from
scikit-learn, so nothing is downloaded. VICRegL sees them without labels; then a
kNN, a linear classifier and a linear segmentation head judge the frozen
backbone, beside the same backbone at random initialisation and, with --ceiling,
trained with all labels for as many epochs.

Expected on 2 CPU cores, TensorFlow: see the table in docs/digit_scenes.md.
"""

import argparse
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from _settings import check_installed, told

import keras_vicregl
from keras_vicregl.checkpoints import check_export, export, load_backbone
from keras_vicregl.data import (
    CLASS_NAMES,
    SEGMENTATION_CLASS_NAMES,
    digit_scenes,
    load,
    view_batches,
)
from keras_vicregl.evaluation import (
    evaluate_knn,
    evaluate_linear,
    evaluate_segmentation,
    extract_features,
    normalize_images,
)
from keras_vicregl.models.backbones import SmallResNet
from keras_vicregl.views import MultiView
from keras_vicregl.views.normalization import IMAGENET_MEAN, IMAGENET_STD
from keras_vicregl.visualization import (
    find_matches,
    plot_curves,
    plot_feature_maps,
    plot_match_criteria,
    save,
)

CLASSES = len(CLASS_NAMES)
SEGMENTATION_CLASSES = len(SEGMENTATION_CLASS_NAMES)
COLUMNS = {"linear": "linear top-1", "knn": "kNN top-1", "miou": "mIoU"}


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--scenes", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--view-size", type=int, default=48)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=4e-3)
    parser.add_argument("--alpha", type=float, default=0.75)
    parser.add_argument(
        "--ceiling",
        action="store_true",
        help="also train the same network with all labels and masks",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--output", type=pathlib.Path, default=pathlib.Path("demo_output")
    )
    return parser.parse_args()


def build_backbone():
    return SmallResNet(widths=(16, 24, 32, 48), block="bottleneck")


def build_model(alpha):
    return keras_vicregl.VICRegL(
        build_backbone(),
        alpha=alpha,
        expander_units=(512, 512, 512),
        local_expander_units=(128, 128, 64),
    )


def make_optimizer(steps, arguments):
    """AdamW with a linear warm-up over a tenth of the steps, then a cosine."""
    warmup = steps // 10
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0,
        steps - warmup,
        alpha=1e-3,
        warmup_target=arguments.learning_rate,
        warmup_steps=warmup,
    )
    return keras.optimizers.AdamW(schedule, weight_decay=1e-4)


def make_batches(scenes, arguments, seed):
    return view_batches(
        load(scenes, labels=False, masks=False),
        MultiView.scenes(size=arguments.view_size),
        batch_size=arguments.batch_size,
        seed=seed,
    )


def pretrain(model, scenes, arguments, seed):
    batches = make_batches(scenes, arguments, seed)
    steps = len(batches) * arguments.epochs
    model.compile(make_optimizer(steps, arguments))
    return model.fit(batches, epochs=arguments.epochs).history


def supervise(backbone, scenes, arguments):
    """Trains a backbone with all labels and masks, for as many epochs.

    Both tasks at once, on whole images without augmentation, by heads as in
    the evaluation.
    """
    images = keras.Input(scenes["images"].shape[1:])
    mean = 255 * np.array(IMAGENET_MEAN)
    variance = (255 * np.array(IMAGENET_STD)) ** 2
    maps = backbone(keras.layers.Normalization(-1, mean, variance)(images))
    scores = keras.layers.Conv2D(SEGMENTATION_CLASSES, 1)(maps)
    outputs = {
        "labels": keras.layers.Dense(CLASSES)(
            keras.layers.GlobalAveragePooling2D()(maps)
        ),
        "segmentation_masks": keras.layers.UpSampling2D(
            images.shape[1] // maps.shape[1], interpolation="bilinear"
        )(scores),
    }
    model = keras.Model(images, outputs)
    steps = -(-len(scenes["labels"]) // arguments.batch_size)
    model.compile(
        make_optimizer(steps * arguments.epochs, arguments),
        {
            name: keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            for name in outputs
        },
    )
    model.fit(
        scenes["images"],
        {name: scenes[name] for name in outputs},
        batch_size=arguments.batch_size,
        epochs=arguments.epochs,
    )


def evaluate(backbone, train, test):
    """The three protocols on features computed once."""
    train, test = (extract_features(backbone, data) for data in (train, test))
    segmentation = evaluate_segmentation(
        None,
        {name: values[:4000] for name, values in train.items()},
        test,
        num_classes=SEGMENTATION_CLASSES,
    )
    return {
        "linear": 100 * evaluate_linear(None, train, test)["top1"],
        "knn": 100 * evaluate_knn(None, train, test)["top1"],
        "miou": 100 * segmentation["mean_iou"],
    }


def table(results):
    """Markdown: mean and, over several seeds, standard deviation."""
    lines = [
        "| backbone | " + " | ".join(COLUMNS.values()) + " |",
        "|---|" + "---:|" * len(COLUMNS),
    ]
    for name, runs in results.items():
        cells = []
        for column in COLUMNS:
            values = [run[column] for run in runs]
            cell = f"{np.mean(values):.1f} %"
            if len(values) > 1:
                cell += f" ± {np.std(values, ddof=1):.1f}"
            cells.append(cell)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(model, random_maps, history, test, output):
    """Curves, matches between two views, and feature maps, as PNG."""
    save(plot_curves(history), output / "curves.png")

    scenes = {name: values[:3] for name, values in test.items()}
    plain = MultiView.scenes(64, blur=(0.0,), jitter=0.0, grayscale=0.0, seed=1)
    x, *_ = plain.to_fit(plain(scenes))
    x = {k: keras.tree.map_structure(np.asarray, v) for k, v in x.items()}
    matches = find_matches(model, x, num_matches=20)
    save(plot_match_criteria(matches), output / "matches.png")

    images = test["images"][:8]
    maps = extract_features(model.backbone, {"images": images})["features"]
    maps = {"random": random_maps, "pretrained": maps}
    save(plot_feature_maps(images, maps), output / "features.png")


def export_path(output):
    """A SavedModel, or a .keras file where there is no TensorFlow for one."""
    try:
        check_export(output / "backbone")
    except ImportError as error:
        print(f"{error} A .keras file will be.")
        return output / "backbone.keras"
    return output / "backbone"


def export_and_compare(backbone, images, path):
    """Largest difference between the backbone and what is read back."""
    export(backbone, path)
    inputs = normalize_images(images)
    expected = keras.ops.convert_to_numpy(backbone(inputs, training=False))
    served = load_backbone(path).predict_on_batch(inputs)
    return np.abs(served - expected).max()


def main():
    arguments = parse_arguments()
    output = arguments.output
    # What is missing is said before anything is made.
    with told():
        check_installed("make demo", "sklearn", "PIL", "matplotlib")
        path = export_path(output)
        start = time.perf_counter()
        train = digit_scenes("train", arguments.scenes)
        make_batches(train, arguments, arguments.seeds[0])
    output.mkdir(parents=True, exist_ok=True)
    test = digit_scenes("test", max(arguments.scenes // 5, 2))
    print(
        f"{len(train['images'])} training and {len(test['images'])} test "
        f"scenes made in {time.perf_counter() - start:.1f} s; "
        f"Keras backend: {keras.backend.backend()}"
    )

    results = {"random initialisation": [], "VICRegL": []}
    for seed in arguments.seeds:
        keras.utils.set_random_seed(seed)
        model = build_model(arguments.alpha)
        random_maps = extract_features(
            model.backbone, {"images": test["images"][:8]}
        )["features"]
        results["random initialisation"].append(
            evaluate(model.backbone, train, test)
        )
        start = time.perf_counter()
        history = pretrain(model, train, arguments, seed)
        print(f"Pretrained in {time.perf_counter() - start:.0f} s")
        results["VICRegL"].append(evaluate(model.backbone, train, test))
        if arguments.ceiling:
            keras.utils.set_random_seed(seed)
            backbone = build_backbone()
            supervise(backbone, train, arguments)
            results.setdefault("all labels", []).append(
                evaluate(backbone, train, test)
            )

    print("\n" + table(results) + "\n")
    (output / "results.md").write_text(table(results) + "\n")
    draw(model, random_maps, history, test, output)
    difference = export_and_compare(model.backbone, test["images"][:16], path)
    print(f"Pictures in {output}/: curves.png, matches.png, features.png")
    print(
        f"Exported to {path} and loaded again: largest difference "
        f"{difference:.1e}"
    )


if __name__ == "__main__":
    main()
