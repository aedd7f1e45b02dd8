"""Pretrain a backbone by one of the recipes, on any data set.

    python examples/pretrain.py --recipe resnet50 --data imagenet2012
    python examples/pretrain.py --recipe scenes --data digit_scenes
    python examples/pretrain.py --config runs/mine/config.json --output again

A run may be stopped, or die, at any time: the same command continues it from
its last checkpoint, exactly (`keras_vicregl.training.pretrain`): bit for bit
with --deterministic, and else as alike as two runs of one backend are. Ctrl-C
and SIGTERM save before they stop; the exit code is then 130 or 143. It is 1
after an error, such as a loss that is not finite (--skip-nonfinite 1 leaves
such a batch out), and 0 when the last epoch is done. Settings stay those that
the run began with, unless --allow-changes is given.

--output, by default runs/RECIPE, gets config.json, from which the run can be
repeated, logs, curves, checkpoints and the exported backbone. What the recipes
contain, and the time they take, is in keras_vicregl/recipes/; --model,
--views and --optimizer replace any of it, with values in JSON:

    --model num_matches=[20,4] --optimizer weight_decay=1e-6 use_ema=true

Memory too small for a batch: --optimizer gradient_accumulation_steps=4.

All GPUs of a machine, or a TPU, are used (--strategy none: one). Several
machines, and PyTorch with several GPUs, take a process each, started by
torchrun, srun or with TF_CONFIG, with an --output that they share
(`keras_vicregl.distribution.auto`). The batch size is that of all devices.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import sys

from _settings import (
    ON_FEATURES,
    TEST_SPLITS,
    TRAIN_SPLITS,
    default_backend,
    find_split,
    setting,
    told,
)

# Settings that do not bear upon what is learnt, and may change on the way.
FREE = (
    *("save_every", "log_every", "export", "strategy", "deterministic"),
    *("evaluate", "evaluate_every", "evaluate_split"),
    *("allow_changes", "skip_nonfinite"),
)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--config", help="config.json of a run: defaults for all the rest")
    add("--recipe", help="a key of keras_vicregl.recipes.RECIPES")
    add("--data", help="what keras_vicregl.data.load takes; recipe's default")
    add(
        "--split",
        help="of a folder: folders in it, as train+val, or none for all of it; "
        "by default train, where there is such a split",
    )
    add("--data-options", nargs="+", type=setting, metavar="NAME=VALUE")
    add("--output", type=pathlib.Path)
    add("--batch-size", type=int, help="over all devices; recipe's default")
    add("--epochs", type=int, help="recipe's default")
    add("--learning-rate", type=float, help="peak at a batch of 256")
    add("--alpha", type=float, help="weight of the global criterion")
    add("--precision", help="float32, mixed_bfloat16 or mixed_float16")
    add(
        "--canvas",
        type=int,
        help="with --views on=device and files: side in pixels within which "
        "images come to the device; default: of the largest, at most 512",
    )
    for part in ("model", "views", "optimizer"):
        add(f"--{part}", nargs="+", type=setting, metavar="NAME=VALUE")
    add("--seed", type=int, default=0)
    add("--backend", default=default_backend())
    add("--strategy", default="auto", help="auto, none, or a backend's own")
    add("--save-every", type=int, help="steps; by default epochs only")
    add("--log-every", type=int, default=50, help="steps")
    add(
        "--allow-changes",
        action="store_true",
        help="go on with other settings than the run began with",
    )
    add(
        "--skip-nonfinite",
        type=int,
        default=0,
        metavar="N",
        help="leave out at most N batches after which nothing is finite",
    )
    add(
        "--evaluate",
        nargs="*",
        default=[],
        choices=ON_FEATURES,
        help="what to log of the frozen backbone as it trains",
    )
    add("--evaluate-every", type=int, default=1, help="epochs")
    add("--evaluate-split", help="to test on, of the same data; default: test")
    add(
        "--export",
        nargs="*",
        default=[],
        choices=("keras", "saved_model", "onnx", "pth"),
        help="formats to write besides backbone.keras",
    )
    add(
        "--deterministic",
        action="store_true",
        help="the same bits in each run, on one machine; slower",
    )
    config = parser.parse_known_args()[0].config
    if config:
        parser.set_defaults(**json.loads(pathlib.Path(config).read_text()))
    arguments = parser.parse_args()
    if not arguments.recipe:
        parser.error("--recipe or --config is needed")
    arguments.output = arguments.output or pathlib.Path(
        "runs", arguments.recipe
    )
    for name in ("data_options", "model", "views", "optimizer"):
        setattr(arguments, name, dict(getattr(arguments, name) or {}))
    if arguments.alpha is not None:
        arguments.model["alpha"] = arguments.alpha
    return parser, arguments


def find_splits(parser, arguments):
    """What to train on and to test on, for `load`, and as words in settings."""
    split = find_split(arguments.data, arguments.split, TRAIN_SPLITS)
    arguments.split = split or "none"
    if not arguments.evaluate:
        return split, None
    given = arguments.evaluate_split
    test_split = find_split(arguments.data, given, TEST_SPLITS)
    if given is None and test_split is None:
        if set(arguments.evaluate) != {"rank"}:
            parser.error(
                f"--evaluate: {arguments.data} has no folder "
                f"{', '.join(TEST_SPLITS)} to test on. Name one with "
                "--evaluate-split; only rank needs none."
            )
        test_split = split
    arguments.evaluate_split = test_split or "none"
    return split, test_split


def main():
    parser, arguments = parse_arguments()
    os.environ["KERAS_BACKEND"] = arguments.backend
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if arguments.deterministic:
        # Read when TensorFlow is imported.
        os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401, slow after TensorFlow
    import keras

    from keras_vicregl import distribution
    from keras_vicregl.checkpoints import check_export, export
    from keras_vicregl.data import load, steps_per_epoch, view_batches
    from keras_vicregl.data.batches.pipeline import check_engine
    from keras_vicregl.recipes import RECIPES
    from keras_vicregl.training import (
        TrainingInterrupted,
        feature_evaluation,
        has_trained,
        keep_settings,
        pretrain,
    )

    if arguments.recipe not in RECIPES:
        parser.error(f"--recipe must be one of {', '.join(RECIPES)}")
    recipe = RECIPES[arguments.recipe]
    if arguments.deterministic:
        distribution.deterministic(arguments.seed)
    try:
        setup = distribution.auto(arguments.strategy)
    except ValueError as error:
        parser.error(str(error))
    for name in ("data", "batch_size", "epochs", "precision"):
        if getattr(arguments, name) is None:
            setattr(arguments, name, getattr(recipe, name))
    splits = find_splits(parser, arguments)
    settings = vars(arguments).copy()
    output = settings.pop("output")
    settings.pop("config")

    batch_size = arguments.batch_size
    open_split = functools.partial(
        load, arguments.data, **arguments.data_options
    )
    views = recipe.make_views(**arguments.views)
    suffixes = {"saved_model": "", "onnx": ".onnx", "pth": ".pth"}
    exports = {"keras": output / "backbone.keras"} | {
        kind: output / f"backbone{suffixes[kind]}"
        for kind in arguments.export
        if kind != "keras"
    }
    # What is missing is said before anything is built or written.
    with told():
        for kind, path in exports.items():
            check_export(path, kind)
        try:
            source = open_split(splits[0])
            check_engine(source, views, canvas=arguments.canvas)
        except ValueError as error:
            parser.error(str(error))
        make_batches = setup.batches(
            functools.partial(
                view_batches,
                source,
                views,
                canvas=arguments.canvas,
                seed=arguments.seed,
            ),
            batch_size,
        )
        make_batches(start=(0, 0))
    on_device = {"views": views} if views.on == "device" else {}
    steps = steps_per_epoch(source, batch_size)
    keras.utils.set_random_seed(arguments.seed)
    try:
        with setup.scope():
            model = recipe.make_model(
                source.num_classes,
                precision=arguments.precision,
                channels=views.channels,
                **on_device,
                **arguments.model,
            )
            model.compile(
                recipe.make_optimizer(
                    steps,
                    batch_size,
                    arguments.epochs,
                    base_learning_rate=arguments.learning_rate,
                    **arguments.optimizer,
                )
            )
    except (TypeError, ValueError) as error:
        parser.error(f"--model or --optimizer: {error}")
    evaluate = None
    if arguments.evaluate:
        evaluate = feature_evaluation(
            source,
            source if splits[1] == splits[0] else open_split(splits[1]),
            arguments.evaluate,
            size=recipe.views["groups"][0]["size"],
        )
    # Only now, for arguments that nothing can be made of are not settings.
    if setup.is_chief:
        may_change = arguments.allow_changes or not has_trained(output)
        free = settings if may_change else FREE
        try:
            keep_settings(output, settings, free=free)
        except ValueError as error:
            raise ValueError(
                f"{error} Or go on with others by --allow-changes."
            ) from None
        print(
            f"{recipe.name} on {source!r} with {arguments.backend} on {setup}, "
            f"in {output}/"
        )
    try:
        pretrain(
            model,
            make_batches,
            epochs=arguments.epochs,
            output=output,
            steps_per_epoch=steps,
            save_freq=arguments.save_every or "epoch",
            log_every=arguments.log_every,
            evaluate=evaluate,
            evaluate_every=arguments.evaluate_every,
            allow_changes=arguments.allow_changes,
            skip_nonfinite=arguments.skip_nonfinite,
        )
    except TrainingInterrupted as interruption:
        print(interruption, file=sys.stderr)
        sys.exit(interruption.exit_code)
    if setup.is_chief:
        for kind, path in exports.items():
            export(model.backbone, path, kind)
        print(f"Done: {', '.join(sorted(p.name for p in output.iterdir()))}")
    distribution.end_together(model)


if __name__ == "__main__":
    main()
