"""What studies share: methods, a run's pretraining, and stored results."""

import argparse
import functools
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics

# What differs from the recipe: arguments of the model, and of the views.
METHODS = {
    "random": None,
    "vicreg": ({"alpha": 1.0}, {}),
    "location": ({"local_criteria": ["location"]}, {}),
    "feature": ({"local_criteria": ["feature"]}, {}),
    "both": ({}, {}),
    "alpha_0.9": ({"alpha": 0.9}, {}),
    "alpha_0.5": ({"alpha": 0.5}, {}),
    "alpha_0": ({"alpha": 0.0}, {}),
    "by_view": ({"match_counts": "by_view"}, {}),
    "flips_ignored": ({}, {"track_flips": False}),
    "max_distance": ({"max_distance": 4.0}, {}),
    "maps": ({"regularize": "maps"}, {}),
    "vicreg_again": ({"alpha": 1.0}, {}),
    "feature_later": ({"local_criteria": ["feature"]}, {}),
}
# Whose backbone, of the same seed, some begin with.
STARTS = {"vicreg_again": "vicreg", "feature_later": "vicreg"}
TITLES = {
    "random": "random initialisation",
    "vicreg": "VICReg (alpha 1)",
    "location": "location only",
    "feature": "feature only",
    "both": "location and feature (VICRegL)",
    "alpha_0.9": "both, alpha 0.9",
    "alpha_0.5": "both, alpha 0.5",
    "alpha_0": "both, alpha 0 (local alone)",
    "by_view": "both, matches counted by view",
    "flips_ignored": "both, flips not tracked",
    "max_distance": "both, location pairs within 4 px",
    "maps": 'both, `regularize="maps"`',
    "vicreg_again": "VICReg, then VICReg once more",
    "feature_later": "VICReg, then feature only",
}


def study_parser(description, results, runs):
    """Options that all studies have.

    Args:
        description: the docstring of the script.
        results: where what runs have found is kept, by default.
        runs: where their checkpoints are, by default.
    """
    parser = argparse.ArgumentParser(
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    add("--results", type=pathlib.Path, default=results)
    add("--runs", type=pathlib.Path, default=pathlib.Path(runs))
    add("--table", action="store_true", help="print it, and train nothing")
    return parser


def add_run_options(parser):
    """Options of studies of which a part of train may be judged on."""
    add = parser.add_argument
    add("--epochs", type=int, help="of pretraining; by default the recipe's")
    add(
        "--split",
        default="test",
        choices=("val", "test"),
        help="what is judged on",
    )


def pretrained(recipe, method, seed, epochs, folder, source):
    """The model after pretraining, the logs of epochs, and the seconds.

    A run that was interrupted goes on from its last checkpoint in `folder`, and
    one that is complete is read from there.
    """
    import keras

    from keras_vicregl.data import steps_per_epoch, view_batches
    from keras_vicregl.training import pretrain

    keras.utils.set_random_seed(seed)
    if METHODS[method] is None:
        return recipe.make_model(), {}, 0.0
    of_model, of_views = METHODS[method]
    steps = steps_per_epoch(source, recipe.batch_size)
    model = recipe.make_model(**of_model)
    if method in STARTS:
        first = folder.with_name(f"{STARTS[method]}-{seed}")
        start, *_ = pretrained(
            recipe, STARTS[method], seed, epochs, first, source
        )
        model.backbone.set_weights(start.backbone.get_weights())
    model.compile(recipe.make_optimizer(steps, epochs=epochs))
    history = pretrain(
        model,
        functools.partial(
            view_batches,
            source,
            recipe.make_views(**of_views),
            batch_size=recipe.batch_size,
            seed=seed,
        ),
        epochs=epochs,
        output=folder,
        verbose=0,
    )
    events = [
        json.loads(line)
        for line in (folder / "events.jsonl").read_text().splitlines()
    ]
    seconds = sum(event.get("seconds", 0.0) for event in events)
    return model, history, seconds


def rounded(history):
    """Logs of epochs with six digits, by name."""
    return {
        name: [float(f"{value:.6g}") for value in values]
        for name, values in history.items()
    }


def surroundings():
    """Versions and hardware, to be kept beside figures."""
    import keras

    backend = keras.backend.backend()
    packages = ("keras", "numpy", backend)
    return {
        "backend": backend,
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in packages},
        },
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
    }


def _processor():
    try:
        with open("/proc/cpuinfo") as lines:
            names = [line for line in lines if line.startswith("model name")]
        return names[0].partition(":")[2].strip()
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def stored_run(path):
    """What is stored of a run, or None."""
    return json.loads(path.read_text()) if path.exists() else None


def check_same(path, option, there, asked):
    """An error where a stored run was made otherwise than is asked for."""
    if there != asked:
        raise SystemExit(
            f"{path} was made with {option} {there}, not {asked}: choose other "
            "--results and --runs."
        )


def classified(backbone, train, test, seed, **options):
    """Accuracies in percent by frozen, pooled features, with all labels.

    Args:
        backbone: maps images to one feature map.
        train: images and labels.
        test: as `train`.
        seed: of the linear classifier.
        **options: of `extract_features`.
    """
    from keras_vicregl.evaluation import (
        evaluate_knn,
        evaluate_linear,
        extract_features,
    )

    features = [
        extract_features(backbone, data, pooled=True, **options)
        for data in (train, test)
    ]
    figures = {
        "linear": evaluate_linear(None, *features, seed=seed),
        "knn": evaluate_knn(None, *features),
    }
    return {name: percent(found["top1"]) for name, found in figures.items()}


def percent(share):
    """A share in percent, with three decimals."""
    return round(100 * share, 3)


def is_done(path, arguments):
    """Whether a run is stored; one that was made otherwise is an error.

    Args:
        path: of the stored run.
        arguments: with `split`, and with `epochs` where they were given.
    """
    run = stored_run(path)
    if run is None:
        return False
    check_same(path, "--split", run["split"], arguments.split)
    if arguments.epochs:
        epochs = run["recipe"]["epochs"]
        check_same(path, "--epochs", epochs, arguments.epochs)
    return True


def settings_of(recipe):
    """A recipe as plain data, without its words for people."""
    return {
        name: value
        for name, value in recipe.to_dict().items()
        if name not in ("time", "accuracy")
    }


def store(result, path):
    """Writes JSON to another name first, so that none is ever half written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".json.tmp")
    unfinished.write_text(json.dumps(result, indent=1) + "\n")
    os.replace(unfinished, path)


def read_results(folder):
    """Stored runs by method, in the order of `METHODS`, then of seeds."""
    runs = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    runs.sort(key=lambda result: result["seed"])
    order = list(METHODS)
    names = sorted(
        {run["method"] for run in runs},
        # What is no method of pretraining, as a supervised network, is last.
        key=lambda name: order.index(name) if name in order else len(order),
    )
    return {
        name: [run for run in runs if run["method"] == name] for name in names
    }


def changes(runs, baseline, figure):
    """Of a figure, over the baseline's run of the same seed.

    These have the same initial weights, views and test.
    """
    before = {run["seed"]: run["figures"][figure] for run in baseline}
    return [
        run["figures"][figure] - before[run["seed"]]
        for run in runs
        if run["seed"] in before
    ]


def spread(values, unit="", sign=""):
    """Mean and, of several, standard deviation of samples, as text."""
    text = f"{statistics.mean(values):{sign}.1f}{unit}"
    if len(values) > 1:
        text += f" ± {statistics.stdev(values):.1f}"
    return text


def table(results, names, timed=False, titles=TITLES, first="backbone"):
    """Markdown: mean and standard deviation over seeds.

    Args:
        results: what `read_results` returns.
        names: of figures, with their titles.
        timed: whether the processor's time of training is shown.
        titles: of methods.
        first: of the column of methods.
    """
    columns = [*names.values(), *(["CPU time"] if timed else [])]
    lines = [
        f"| {first} | seeds | " + " | ".join(columns) + " |",
        "|---|" + "---:|" * (1 + len(columns)),
    ]
    for method, runs in results.items():
        cells = [
            titles[method],
            str(len(runs)),
            *(
                spread([run["figures"][name] for run in runs], " %")
                for name in names
            ),
        ]
        if timed:
            times = [run["training_cpu_seconds"] for run in runs]
            times = [seconds / 60 for seconds in times if seconds]
            is_trained = method != "random" and times
            cells.append(spread(times, " min") if is_trained else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
