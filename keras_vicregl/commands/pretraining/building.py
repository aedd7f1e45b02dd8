"""The parts of a training: views, model, optimizer, as they were asked for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from keras_vicregl.commands.given.models import (
    as_feature_map,
    keras_file,
    load_keras,
)
from keras_vicregl.commands.given.options import (
    as_usage,
    check_names,
    names_of,
)
from keras_vicregl.commands.problems import UsageError

if TYPE_CHECKING:
    import keras

    from keras_vicregl.data import ImageSource
    from keras_vicregl.recipes import Recipe
    from keras_vicregl.views import MultiView

_HOST = ("tensorflow", "keras_cv")


def views_on(settings: argparse.Namespace) -> str | None:
    """Where views are made, where nobody said so; None: as the recipe has it.

    Returns:
        `"device"` where a package is missing that makes them on the host.
    """
    from keras_vicregl._installed import missing

    if "on" in settings.views or not missing(*_HOST):
        return None
    return "device"


def check_options(recipe: Recipe, settings: argparse.Namespace) -> None:
    """Looks at the names in --views, --model and --optimizer.

    Raises:
        UsageError: for one that nothing is done with.
    """
    import keras

    from keras_vicregl.models import VICRegL
    from keras_vicregl.optimizers import LARS, AdamW
    from keras_vicregl.recipes.view_groups import FIELDS
    from keras_vicregl.views import MultiView

    known = names_of(MultiView) | set(FIELDS)
    check_names("--views", settings.views, known - {"kwargs", "name"})
    # What others say: --views, the data, --precision.
    known = names_of(VICRegL) - {"views", "num_classes", "kwargs"}
    known |= {"batch_norm_momentum"}
    check_names("--model", settings.model, known)
    kinds = {"lars": LARS, "adamw": AdamW}[recipe.optimizer].__mro__
    base = keras.optimizers.Optimizer
    known = names_of(
        *(kind for kind in kinds if issubclass(kind, base)),
        type(recipe).make_optimizer,
    )
    # Likewise.
    known -= {"steps_per_epoch", "batch_size", "epochs", "kwargs", "overrides"}
    check_names("--optimizer", settings.optimizer, known)


def make_views(recipe: Recipe, settings: argparse.Namespace) -> MultiView:
    """The views of a recipe, with what --views says.

    Raises:
        UsageError: if an argument cannot be.
    """
    with as_usage("--views"):
        return recipe.make_views(**settings.views)


def make_model(
    recipe: Recipe,
    source: ImageSource,
    views: MultiView,
    settings: argparse.Namespace,
) -> keras.Model:
    """The model of a recipe, with what --model says.

    `backbone` may be a name, a .keras file or the folder of a run;
    `batch_norm_momentum` is that of its batch normalisations.

    Raises:
        UsageError: if an argument cannot be.
    """
    from keras_vicregl.models.backbones import BACKBONES, as_backbone

    arguments = dict(settings.model)
    momentum = arguments.pop("batch_norm_momentum", None)
    backbone = arguments.get("backbone")
    if backbone is not None and backbone not in BACKBONES:
        arguments["backbone"] = _backbone_of_file(backbone, BACKBONES)
    on_device = {"views": views} if views.on == "device" else {}
    with as_usage("--model"):
        model = recipe.make_model(
            source.num_classes,
            precision=settings.precision,
            channels=views.channels,
            **on_device,
            **arguments,
        )
        if momentum is not None:
            as_backbone(model.backbone, batch_norm_momentum=momentum)
    return model


def _backbone_of_file(given: Any, names: Any) -> keras.Model:
    from keras_vicregl.models.backbones.normalization import takes_integers

    if not isinstance(given, str):
        raise UsageError(f"--model backbone={given!r} is no name and no file.")
    try:
        path = keras_file(given)
    except UsageError as error:
        raise UsageError(
            f"--model backbone={given}: {error} Names are {', '.join(names)}."
        ) from error
    model = load_keras(path)
    if takes_integers(model):
        raise UsageError(
            f"--model backbone={given} is an export that normalises images by "
            "itself: give the backbone.keras of its run."
        )
    with as_usage(f"--model backbone={given}"):
        return as_feature_map(model, given)


def make_optimizer(
    recipe: Recipe, steps: int, settings: argparse.Namespace
) -> keras.optimizers.Optimizer:
    """The optimizer of a recipe, with what --optimizer says.

    Args:
        recipe: that is trained.
        steps: of an epoch.
        settings: with batch size, epochs and learning rate.

    Raises:
        UsageError: if an argument cannot be.
    """
    with as_usage("--optimizer"):
        return recipe.make_optimizer(
            steps,
            settings.batch_size,
            settings.epochs,
            **{
                "base_learning_rate": settings.learning_rate,
                **settings.optimizer,
            },
        )
