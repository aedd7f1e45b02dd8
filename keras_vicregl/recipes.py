"""Networks and views of the paper's recipes, as plain data (its appendix)."""

from __future__ import annotations

import dataclasses
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keras_vicregl.views import MultiView


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is pretrained, and on which views.

    Attributes:
        backbone: name for `keras_vicregl.backbone`.
        views: `"resnet"`, 2 views of 224 px, or `"convnext"`, which adds 6 of
            96 px: the constructor of `keras_vicregl.views.MultiView`.
        alpha: weight of the global criterion; 0.9 was published as well.

    Example:

    >>> RECIPES["convnext_small"].views
    'convnext'
    """

    backbone: str
    views: str
    alpha: float = 0.75

    def make_views(self, **kwargs: Any) -> MultiView:
        """The layer that makes the recipe's views.

        Args:
            **kwargs: arguments of `MultiView` other than `groups`.

        Returns:
            A `MultiView`.
        """
        from keras_vicregl.views import MultiView

        return getattr(MultiView, self.views)(**kwargs)


RECIPES = MappingProxyType(
    {
        "resnet50": Recipe("resnet50", "resnet"),
        "convnext_small": Recipe("convnext_small", "convnext"),
        "convnext_base": Recipe("convnext_base", "convnext"),
    }
)
