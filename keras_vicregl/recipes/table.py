"""All recipes by name."""

from types import MappingProxyType
from typing import Any

from keras_vicregl.models import VICRegL
from keras_vicregl.models.extensions import provides
from keras_vicregl.recipes.convnext import FAMILY as CONVNEXT
from keras_vicregl.recipes.resnet import FAMILY as RESNET
from keras_vicregl.recipes.scenes import FAMILY as SCENES
from keras_vicregl.recipes.small_images import FAMILY as SMALL_IMAGES

RECIPES = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (*RESNET, *CONVNEXT, *SMALL_IMAGES, *SCENES)
    }
)
"""All recipes by name. It cannot be changed; `Recipe.replace` makes others."""


@provides("recipe")
def model_from_recipe(
    model_class: type[VICRegL], name: str, **kwargs: Any
) -> VICRegL:
    """`VICRegL.from_recipe`, which see.

    Args:
        model_class: `VICRegL` or a class derived from it.
        name: a key of `RECIPES`.
        **kwargs: arguments of `Recipe.make_model`.

    Returns:
        An instance of `model_class`.

    Raises:
        ValueError: if there is no recipe of that name.
    """
    if name not in RECIPES:
        raise ValueError(
            f"`name` must be one of {', '.join(RECIPES)}; received {name!r}."
        )
    return RECIPES[name].make_model(model_class=model_class, **kwargs)
