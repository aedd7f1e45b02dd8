"""The class of a recipe: plain data, and what is built from it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras

from keras_vicregl.models import VICRegL
from keras_vicregl.models.backbones import backbone as named_backbone
from keras_vicregl.optimizers import LARS, AdamW, warmup_cosine
from keras_vicregl.recipes.view_groups import FIELDS, changed_groups
from keras_vicregl.views import MultiView

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
"""What the `precision` of a recipe may be: a dtype policy of Keras."""
_OPTIMIZERS = {
    "lars": LARS,
    "adamw": AdamW,
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is pretrained, on which views, and how.

    Attributes:
        name: its key in `keras_vicregl.recipes.RECIPES`.
        data: what it is meant for, by the name that `keras-vicregl
            pretrain --data` takes.
        time: how long that takes, on which hardware; for people.
        accuracy: published or measured; for people.
        backbone: name for `keras_vicregl.backbone`.
        views: arguments of `keras_vicregl.views.MultiView`.
        optimizer: `"lars"` or `"adamw"`, of `keras_vicregl.optimizers`.
        base_learning_rate: peak of the learning rate at a batch of 256; it
            grows with the batch, see `optimizers.warmup_cosine`.
        batch_size: examples of one step, over all devices.
        epochs: length of the training.
        warmup_epochs: part of the training in which the rate rises.
        optimizer_arguments: further arguments of the optimizer.
        backbone_arguments: arguments of the backbone.
        model: arguments of `keras_vicregl.VICRegL`.
        precision: `"float32"`, `"mixed_bfloat16"` or `"mixed_float16"`.

    Raises:
        ValueError: if optimizer or precision is unknown, or a number is not
            positive.

    Example:

    >>> from keras_vicregl.recipes import RECIPES
    >>> recipe = RECIPES["convnext_small"]
    >>> recipe.optimizer, recipe.batch_size, recipe.alpha
    ('adamw', 384, 0.75)
    >>> Recipe.from_dict(recipe.to_dict()) == recipe
    True
    """

    name: str
    data: str
    time: str
    accuracy: str
    backbone: str
    views: Mapping[str, Any]
    optimizer: str
    base_learning_rate: float
    batch_size: int
    epochs: int
    warmup_epochs: float = 10.0
    optimizer_arguments: Mapping[str, Any] = dataclasses.field(
        default_factory=dict
    )
    backbone_arguments: Mapping[str, Any] = dataclasses.field(
        default_factory=dict
    )
    model: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.optimizer not in _OPTIMIZERS:
            raise ValueError(
                f"`optimizer` must be one of {tuple(_OPTIMIZERS)}; received "
                f"{self.optimizer!r}."
            )
        _check_precision(self.precision)
        for name in ("base_learning_rate", "batch_size", "epochs"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"`{name}` must be positive; received "
                    f"{getattr(self, name)}."
                )
        for field in dataclasses.fields(self):
            value = _frozen(getattr(self, field.name))
            object.__setattr__(self, field.name, value)

    @property
    def alpha(self) -> float:
        """Weight of the global criterion."""
        return self.model.get("alpha", 0.75)

    @property
    def command(self) -> str:
        """The command that trains it."""
        return f"keras-vicregl pretrain --recipe {self.name} --data {self.data}"

    def make_views(self, **overrides: Any) -> MultiView:
        """The layer that makes the recipe's views.

        Args:
            **overrides: arguments of `MultiView` that replace the recipe's,
                and those of `ViewGroup` for its groups of views: `size=96`, or
                where there are several groups a list of one value each,
                `size=[160, 64]`. With other `channels` than 3, saturation, hue
                and grayscale, which these do not have, are 0.

        Returns:
            A `MultiView`.

        Raises:
            ValueError: if an argument is outside what it may be, or there are
                several groups and one value.

        Example:

        >>> from keras_vicregl.recipes import RECIPES
        >>> views = RECIPES["resnet50"].make_views(
        ...     channels=1, value_range=(0, 65535)
        ... )
        >>> views.brightness, views.hue
        (0.4, 0.0)
        >>> views = RECIPES["stl10"].make_views(size=64)
        >>> views.groups[0].size
        (64, 64)
        """
        views = _thawed(self.views)
        of_groups = {k: overrides.pop(k) for k in FIELDS if k in overrides}
        if of_groups:
            groups = _thawed(_frozen(overrides.get("groups", views["groups"])))
            overrides["groups"] = changed_groups(groups, of_groups)
        if overrides.get("channels", 3) != 3:
            views |= dict.fromkeys(("saturation", "hue", "grayscale"), 0.0)
            for name in ("mean", "std"):
                views.pop(name, None)
        return MultiView(**{**views, **overrides})

    def make_model(
        self,
        num_classes: int | None = None,
        *,
        backbone: keras.Model | str | None = None,
        precision: str | None = None,
        channels: int = 3,
        model_class: type[VICRegL] | None = None,
        **overrides: Any,
    ) -> VICRegL:
        """The recipe's model, with random weights.

        Args:
            num_classes: classes of an online classifier; `None` for none.
            backbone: a model, or a name for `keras_vicregl.backbone`, instead
                of the recipe's.
            precision: instead of the recipe's. A backbone that is given as a
                model keeps its own.
            channels: of the images. A backbone that is given as a model keeps
                its own.
            model_class: `VICRegL` (`None`) or a class derived from it.
            **overrides: arguments of `VICRegL` that replace the recipe's.

        Returns:
            A `VICRegL`.

        Raises:
            ValueError: if the precision or the backbone is unknown.
        """
        precision = _check_precision(precision or self.precision)
        of_images: dict[str, Any] = {"dtype": precision}
        if channels != 3:
            of_images["input_shape"] = (None, None, channels)
        if backbone is None:
            backbone = named_backbone(
                self.backbone,
                **{**of_images, **_thawed(self.backbone_arguments)},
            )
        elif isinstance(backbone, str):
            backbone = named_backbone(backbone, **of_images)
        arguments = {
            "dtype": precision,
            "num_classes": num_classes,
            **_thawed(self.model),
            **overrides,
        }
        return (model_class or VICRegL)(backbone, **arguments)

    def make_optimizer(
        self,
        steps_per_epoch: int,
        batch_size: int | None = None,
        epochs: float | None = None,
        *,
        base_learning_rate: float | None = None,
        warmup_epochs: float | None = None,
        **overrides: Any,
    ) -> keras.optimizers.Optimizer:
        """The recipe's optimizer, with its learning-rate schedule.

        Args:
            steps_per_epoch: batches an epoch.
            batch_size: examples a batch, over all devices. With
                `gradient_accumulation_steps` a step of the optimizer has that
                many batches, and the learning rate follows.
            epochs: length of the training. Where it is shorter than the
                recipe's, the warm-up is shorter in proportion.
            base_learning_rate: instead of the recipe's.
            warmup_epochs: instead of that.
            **overrides: arguments of the optimizer that replace the recipe's,
                e.g. `weight_decay`; `learning_rate` replaces the schedule.

        Returns:
            A `LARS` or an `AdamW` of `keras_vicregl.optimizers`.

        Raises:
            ValueError: if an argument is out of its range.

        Example:

        >>> from keras_vicregl.recipes import RECIPES
        >>> optimizer = RECIPES["resnet50"].make_optimizer(625)
        >>> float(optimizer.learning_rate)
        0.0
        """
        arguments = {**_thawed(self.optimizer_arguments), **overrides}
        if "learning_rate" not in arguments:
            base = _given(base_learning_rate, self.base_learning_rate)
            epochs = _given(epochs, self.epochs)
            shorter = min(1.0, epochs / self.epochs)
            accumulated = arguments.get("gradient_accumulation_steps") or 1
            arguments["learning_rate"] = warmup_cosine(
                base,
                _given(batch_size, self.batch_size) * accumulated,
                steps_per_epoch,
                epochs,
                _given(warmup_epochs, self.warmup_epochs * shorter),
            )
        return _OPTIMIZERS[self.optimizer](**arguments)

    def replace(self, **changes: Any) -> Recipe:
        """A recipe with some attributes changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Dictionaries, lists, strings and numbers only, for a JSON file."""
        return {
            field.name: _thawed(getattr(self, field.name))
            for field in dataclasses.fields(self)
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The inverse of `to_dict`.

        Args:
            values: what `to_dict` gave, also after a round trip through JSON.

        Returns:
            A `Recipe`.

        Raises:
            ValueError: if there is a key that no recipe has, or one is
                missing.
        """
        known = {field.name: field for field in dataclasses.fields(cls)}
        surplus = sorted(set(values) - set(known))
        missing = [
            name
            for name, field in known.items()
            if name not in values
            and field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
        ]
        if surplus or missing:
            raise ValueError(
                f"A recipe has the keys {', '.join(known)}. Unknown: "
                f"{', '.join(surplus) or 'none'}; missing: "
                f"{', '.join(missing) or 'none'}."
            )
        return cls(**values)


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value


def _check_precision(precision: str) -> str:
    if precision not in PRECISIONS:
        raise ValueError(
            f"`precision` must be one of {PRECISIONS}; received {precision!r}."
        )
    return precision


def _frozen(value: Any) -> Any:
    """Mappings and sequences, all the way down, that cannot be changed."""
    if isinstance(value, Mapping):
        return MappingProxyType({k: _frozen(v) for k, v in value.items()})
    if isinstance(value, (list, tuple)):
        return tuple(_frozen(v) for v in value)
    return value


def _thawed(value: Any) -> Any:
    """The same as dictionaries and lists."""
    if isinstance(value, Mapping):
        return {k: _thawed(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return [_thawed(v) for v in value]
    return value
