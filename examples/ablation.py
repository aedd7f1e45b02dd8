"""The paper's ablation (Table 3) and more, on digit scenes.

    python examples/ablation.py                        # all methods, 3 seeds
    python examples/ablation.py --methods both --seeds 0 1 2 3
    python examples/ablation.py --times                # of a step, 3 minutes
    python examples/ablation.py --table                # of what is stored

Each method pretrains the network of the recipe "scenes" for the same number of
steps on the same views; then nearest neighbours, a linear classifier and a
linear segmentation head judge its frozen backbone. What a run has found - its
settings, the logs of its epochs, the figures, the seconds - is kept in
`guides/results/ablation/METHOD-SEED.json`, and left alone if it is there.
Interrupted runs go on from their last checkpoint, in `runs/ablation/`.

A run takes 7 minutes on one CPU core under TensorFlow. Several processes may
share the work: each takes the seeds it is given. As that makes its seconds no
measure of cost, `--times` takes steps of all methods in turn, and keeps the
ratios beside the results, in `step_times.json`.
"""

import functools
import json
import os
import pathlib
import statistics
import time

from _study import (
    METHODS,
    STARTS,
    TITLES,
    changes,
    check_same,
    pretrained,
    read_results,
    rounded,
    spread,
    store,
    stored_run,
    study_parser,
)

RESULTS = pathlib.Path(__file__).parents[1] / "guides" / "results" / "ablation"
SCENES = {"train": 10_000, "test": 2_000}
SEGMENTATION_SCENES = 4_000  # of the training scenes, for the linear head
EPOCHS = 12

METRICS = {"linear": "linear top-1", "knn": "kNN top-1", "miou": "mIoU"}


def parse_arguments():
    parser = study_parser(__doc__, RESULTS, "runs/ablation")
    add = parser.add_argument
    add("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    add("--epochs", type=int, default=EPOCHS)
    add("--times", action="store_true", help="time steps, and train nothing")
    return parser.parse_args()


def evaluate(backbone, scenes, seed):
    """Percentages of three protocols, and the effective rank, of one pass."""
    from keras_vicregl.evaluation import (
        effective_rank,
        evaluate_knn,
        evaluate_linear,
        evaluate_segmentation,
        extract_features,
    )

    train, test = (
        extract_features(backbone, scenes[split]) for split in ("train", "test")
    )
    segmentation = evaluate_segmentation(
        None,
        {name: values[:SEGMENTATION_SCENES] for name, values in train.items()},
        test,
        num_classes=11,
        seed=seed,
    )
    figures = {
        "linear": evaluate_linear(None, train, test, seed=seed)["top1"],
        "knn": evaluate_knn(None, train, test)["top1"],
        "miou": segmentation["mean_iou"],
        "pixel_accuracy": segmentation["pixel_accuracy"],
        **{k: v for k, v in segmentation.items() if k.startswith("iou_")},
    }
    figures = {name: round(100 * value, 3) for name, value in figures.items()}
    pooled = test["features"].mean(axis=(1, 2))
    return {**figures, "rank": round(effective_rank(pooled), 3)}


def run(method, seed, arguments, scenes):
    """Trains, evaluates and stores one run."""
    path = arguments.results / f"{method}-{seed}.json"
    if stored := stored_run(path):
        check_same(path, "--epochs", stored["epochs"], arguments.epochs)
        return
    from keras_vicregl.data import load
    from keras_vicregl.recipes import RECIPES

    folder = arguments.runs / f"{method}-{seed}"
    start = time.monotonic()
    model, history, seconds = pretrained(
        RECIPES["scenes"],
        method,
        seed,
        arguments.epochs,
        folder,
        load(scenes["train"], labels=False, masks=False),
    )
    figures = evaluate(model.backbone, scenes, seed)
    result = {
        "method": method,
        "seed": seed,
        "epochs": arguments.epochs,
        "scenes": SCENES,
        "figures": figures,
        "pretraining_seconds": round(seconds, 1),
        "history": rounded(history),
    }
    store(result, path)
    figures = ", ".join(f"{name} {figures[name]:.1f} %" for name in METRICS)
    print(f"{path.stem}: {figures} ({time.monotonic() - start:.0f} s)")


def time_steps(rounds=20):
    """Medians of seconds a step, and of the ratios to VICReg's of its round."""
    import keras

    from keras_vicregl.data import load, view_batches
    from keras_vicregl.recipes import RECIPES

    recipe = RECIPES["scenes"]
    source = load(
        "digit_scenes",
        "train",
        count=recipe.batch_size,
        labels=False,
        masks=False,
    )
    steps = {}
    for method, settings in METHODS.items():
        if settings is None or method in STARTS:
            continue
        of_model, of_views = settings
        model = recipe.make_model(**of_model)
        model.compile(recipe.make_optimizer(1, epochs=1))
        batches = view_batches(
            source,
            recipe.make_views(**of_views),
            batch_size=recipe.batch_size,
            seed=0,
        )
        (batch,) = next(iter(batches))
        steps[method] = functools.partial(model.train_on_batch, batch)
    seconds = {method: [] for method in steps}
    for _ in range(rounds):
        for method, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[method].append(time.perf_counter() - start)
    # Not the first two, which trace and compile.
    seconds = {method: times[2:] for method, times in seconds.items()}
    return {
        "backend": keras.backend.backend(),
        "seconds": {
            method: round(statistics.median(times), 4)
            for method, times in seconds.items()
        },
        "over_vicreg": {
            method: round(
                statistics.median(
                    own / vicreg
                    for own, vicreg in zip(
                        times, seconds["vicreg"], strict=True
                    )
                ),
                3,
            )
            for method, times in seconds.items()
        },
    }


def times_path(folder):
    """Where the times of steps are, beside the folder of runs."""
    return folder.parent / "step_times.json"


def read_times(folder=RESULTS):
    """By method, the time of a step over VICReg's; nothing if none are kept."""
    path = times_path(folder)
    if not path.exists():
        return {}
    return json.loads(path.read_text())["over_vicreg"]


def table(results, times):
    """Markdown: mean and standard deviation over seeds, and the changes."""
    lines = [
        "| method | seeds | "
        + " | ".join(METRICS.values())
        + " | mIoU over VICReg | time of a step |",
        "|---|---:|" + "---:|" * (len(METRICS) + 2),
    ]
    for method, runs in results.items():
        values = {m: [run["figures"][m] for run in runs] for m in METRICS}
        gains = changes(runs, results.get("vicreg", []), "miou")
        cells = [TITLES[method], str(len(runs))]
        cells += [spread(values[metric], " %") for metric in METRICS]
        cells.append(
            "" if method == "vicreg" or not gains else spread(gains, "", "+")
        )
        cells.append(f"x {times[method]:.1f}" if method in times else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    arguments = parse_arguments()
    if arguments.table:
        print_table(arguments.results)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if arguments.times:
        store(time_steps(), times_path(arguments.results))
        return
    from keras_vicregl.data import digit_scenes

    scenes = {
        split: digit_scenes(split, count) for split, count in SCENES.items()
    }
    for seed in arguments.seeds:
        for method in arguments.methods:
            run(method, seed, arguments, scenes)
    print_table(arguments.results)


def print_table(folder):
    print(table(read_results(folder), read_times(folder)))


if __name__ == "__main__":
    main()
