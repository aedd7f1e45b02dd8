"""The VICRegL model."""

from collections.abc import Sequence
from typing import Any, cast

import keras
from keras import ops

from keras_vicregl._warnings import warn
from keras_vicregl.distribution.batch_normalization import (
    synchronize_batch_normalization,
)
from keras_vicregl.distribution.collectives import (
    for_metrics,
    metric_weight,
    replica_mean,
)
from keras_vicregl.losses import vicregl_loss
from keras_vicregl.losses.arguments import LocalOptions, check_alpha
from keras_vicregl.losses.statistics import float32
from keras_vicregl.models.arguments import CheckedArguments
from keras_vicregl.models.backbones.kernels import use_fast_kernels
from keras_vicregl.models.backbones.normalization import (
    learn_normalization,
    warn_of_own_layers,
)
from keras_vicregl.models.extensions import provided
from keras_vicregl.models.guards import CLASSIFIER_LOSS, StopOnNonFinite
from keras_vicregl.models.heads import check_units, checked_labels, expander
from keras_vicregl.models.monitors import collapse_monitors
from keras_vicregl.models.plumbing import (
    MISSING_GEOMETRY,
    apply,
    apply_head,
    check_image_shape,
    check_view_shapes,
    check_views,
    checked_batch,
    feature_channels,
    has_batch_normalization,
    with_views,
)
from keras_vicregl.models.recompute import Recomputed
from keras_vicregl.models.train_step import TrainStep
from keras_vicregl.models.warning_callbacks import FitGuard, WarnOnSlowNorms
from keras_vicregl.precision import FullPrecisionDense
from keras_vicregl.views import MultiView
from keras_vicregl.views.geometry import positions

GLOBAL_TERMS = ("inv", "var", "cov")
LOCAL_TERMS = ("local_inv", "local_var", "local_cov")


@keras.saving.register_keras_serializable(package="keras_vicregl")
class VICRegL(TrainStep, CheckedArguments, keras.Model):
    """Pretrains a backbone without labels, globally and locally.

    Implements "VICRegL: Self-Supervised Learning of Local Visual Features"
    (Bardes, Ponce, LeCun, 2022). After `fit`, `model.backbone` is the result.

    A batch is a dictionary, as `keras_vicregl.views.MultiView` makes it:

    - `"views"`: tuple of V float tensors `(B, H_v, W_v, C)`; the first two are
      the large views.
    - `"view_to_source"`: tuple of V float tensors `(B, 2, 3)`, affine maps from
      a view's normalised coordinates (u to the right, v down, both in [0, 1])
      to pixels (x, y) of the source image. Needed by the location criterion.
    - `"source_size"`: `(B, 2)` height and width of the source images in pixels;
      only needed with `max_distance_unit="diagonal"`.

    With `views`, the model makes the views itself, as the first part of its
    step, from `"images"`, `(B, H, W, C)`, and `"parameters"`: batches of
    `MultiView(on="device")` or `keras_vicregl.data.ArrayBatches`.

    `fit` takes such dictionaries, alone or with integer labels `(B,)`, where -1
    is no label: such images train all but the classifier. It logs
    the six terms of the objective with their coefficients, but not `alpha`,
    and the collapse monitors of view 0: `repr_std` and `emb_std`, the mean
    standard deviation of l2-normalised pooled features and embeddings, and
    `repr_corr` and `emb_corr`, the mean correlation between their channels.

    Args:
        backbone: a `keras.Model` from images to one feature map `(B, h, w, F)`.
        alpha: weight of the global criterion, in [0, 1]. With 1, plain VICReg,
            no local branch is built; with 0, no global one.
        expander_units: layer widths of the expander of pooled features.
        local_expander_units: those of the expander of every position.
        normalization: `"batch"` or `"layer"`, in the expanders. By default
            "batch" where the backbone has batch normalisation.
        num_matches: location-based matches kept; see `local_criterion`. More
            than a map has positions are said in a warning, once.
        match_counts: `"by_pair"` (authors' release) or `"by_view"` (paper).
        feature_matches: feature-based matches kept; `None` keeps all.
        local_criteria: which of `"location"` and `"feature"`.
        max_distance: drops location-based pairs farther apart than this.
        max_distance_unit: `"pixels"` of the source image, or `"diagonal"`: a
            fraction of its diagonal.
        regularize: `"matches"` (paper) or `"maps"`; see `local_criterion`.
        invariance_coefficient: weight of both invariance terms.
        variance_coefficient: weight of both variance terms.
        covariance_coefficient: weight of both covariance terms.
        num_classes: adds a linear classifier of the pooled features of view 0,
            trained online on the labels without touching any other weight.
        stack_views: views of one size go through the network in one call.
            `None`: where there is no batch normalisation, which would mix the
            statistics of views; `True`: everywhere; `False`: nowhere.
        remat: keeps only the outputs of the backbone's blocks for the backward
            pass and computes their inside again: the same gradients with less
            memory, in more time. Batches, images and backbones can be larger.
        views: the `MultiView` with `on="device"` whose views the model makes;
            `None` where they come with the data.
        synchronized: on several devices, whether batch normalisation is over
            the batch of all (the paper's) or over each device's share; see
            `keras_vicregl.distribution`. Under JAX always over all.
        **kwargs: `name` and `dtype` of `keras.Model`.

    Raises:
        ValueError: on arguments that do not fit, or a backbone without a 4-D
            feature map or for images of another shape than `views`.

    Example:

    >>> import numpy as np
    >>> backbone = keras.Sequential(
    ...     [keras.Input((None, None, 3)), keras.layers.Conv2D(8, 4, 4)]
    ... )
    >>> model = VICRegL(
    ...     backbone, expander_units=(16,), local_expander_units=(8,)
    ... )
    >>> image = np.zeros((2, 16, 16, 3), "float32")
    >>> to_source = np.tile(np.array([[16.0, 0, 0], [0, 16, 0]]), (2, 1, 1))
    >>> outputs = model(
    ...     {"views": (image,) * 2, "view_to_source": (to_source,) * 2}
    ... )
    >>> tuple(outputs["local_embeddings"][0].shape)
    (2, 16, 8)
    """

    def __init__(
        self,
        backbone: keras.Model,
        *,
        alpha: float = 0.75,
        expander_units: Sequence[int] = (8192, 8192, 8192),
        local_expander_units: Sequence[int] = (512, 512, 512),
        normalization: str | None = None,
        num_matches: Any = (20, 4),
        match_counts: str = "by_pair",
        feature_matches: Any = None,
        local_criteria: Sequence[str] = ("location", "feature"),
        max_distance: float | None = None,
        max_distance_unit: str = "pixels",
        regularize: str = "matches",
        invariance_coefficient: float = 25.0,
        variance_coefficient: float = 25.0,
        covariance_coefficient: float = 1.0,
        num_classes: int | None = None,
        stack_views: bool | None = None,
        remat: bool = False,
        views: MultiView | None = None,
        synchronized: bool = True,
        **kwargs: Any,
    ) -> None:
        # Coordinates must keep float32 under mixed precision; the networks
        # cast the images themselves.
        super().__init__(autocast=False, **kwargs)
        check_alpha(alpha)
        self.alpha = float(alpha)
        self._local_options = LocalOptions(
            num_matches=num_matches,
            match_counts=match_counts,
            feature_matches=feature_matches,
            local_criteria=local_criteria,
            max_distance=max_distance,
            regularize=regularize,
        )
        if max_distance_unit not in ("pixels", "diagonal"):
            raise ValueError(
                "`max_distance_unit` knows 'pixels' and 'diagonal'; received "
                f"{max_distance_unit!r}."
            )
        self.max_distance_unit = max_distance_unit
        self._coefficients = {
            "invariance_coefficient": float(invariance_coefficient),
            "variance_coefficient": float(variance_coefficient),
            "covariance_coefficient": float(covariance_coefficient),
        }
        self.expander_units = check_units("expander_units", expander_units)
        self.local_expander_units = check_units(
            "local_expander_units", local_expander_units
        )
        self.num_classes = num_classes
        self.stack_views = stack_views
        self.remat = remat
        self.views = check_views(views)
        self._has_local = alpha < 1 and bool(self._local_options.local_criteria)
        self._has_global = alpha > 0
        self._excess_is_said = False
        if not (self._has_global or self._has_local):
            raise ValueError(
                "`alpha=0` leaves the local criterion alone, but "
                "`local_criteria` is empty: there is nothing to train."
            )

        channels = feature_channels(backbone)
        check_view_shapes(backbone, self.views)
        warn_of_own_layers(backbone)
        learn_normalization(backbone, views)
        batch_norm = has_batch_normalization(backbone)
        self.normalization = normalization or (
            "batch" if batch_norm else "layer"
        )
        self._stack_backbone = not batch_norm
        self._stack_heads = self.normalization == "layer"
        if stack_views is not None:
            self._stack_backbone = self._stack_heads = stack_views

        self.backbone = backbone
        self._recomputed = Recomputed(backbone) if remat else None
        self.expander = self.local_expander = self.classifier = None
        if self._has_global:
            self.expander = expander(
                channels,
                self.expander_units,
                self.normalization,
                name="expander",
                dtype=self.dtype_policy,
            )
        if self._has_local:
            self.local_expander = expander(
                channels,
                self.local_expander_units,
                self.normalization,
                name="local_expander",
                dtype=self.dtype_policy,
            )
        if num_classes is not None:
            self.classifier = FullPrecisionDense(
                num_classes, name="classifier", dtype="float32"
            )
            self.classifier.build((None, channels))
        self.synchronized = synchronized
        synchronize_batch_normalization(self, synchronized)
        use_fast_kernels(self)
        self._build_trackers()
        self.built = True

    def _build_trackers(self) -> None:
        names: list[str] = []
        if self._has_global:
            names += GLOBAL_TERMS
        if self._has_local:
            names += LOCAL_TERMS
        names += ["repr_std", "repr_corr"]
        if self._has_global:
            names += ["emb_std", "emb_corr"]
        if self.classifier is not None:
            names.append(CLASSIFIER_LOSS)
        self._trackers = {name: keras.metrics.Mean(name) for name in names}
        if self.classifier is not None:
            accuracy = keras.metrics.SparseCategoricalAccuracy("top1")
            top5 = keras.metrics.SparseTopKCategoricalAccuracy(
                min(5, cast("int", self.num_classes)), name="top5"
            )
            self._accuracies = [accuracy, top5]

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Runs every view through the networks.

        Args:
            inputs: a batch, see the class.
            training: whether batch normalisation and dropout are in training
                mode.

        Returns:
            A dictionary of tuples, one tensor a view: `"representations"`
            `(B, F)`, float32; `"embeddings"` `(B, D)` unless `alpha` is 0;
            `"local_embeddings"` `(B, h * w, C)` and `"positions"` `(B, h * w,
            2)`, the latter in source pixels, unless `alpha` is 1. And
            `"logits"` `(B, num_classes)` of view 0 where there is a classifier.

        Raises:
            ValueError: if the batch is not such a dictionary.
        """
        views, to_source = checked_batch(with_views(inputs, self.views))
        if to_source is None and self._needs_positions():
            raise ValueError(MISSING_GEOMETRY)
        for view, images in enumerate(views):
            shape = tuple(images.shape[1:])
            check_image_shape(self.backbone, shape, f"'views'[{view}]")
        maps = apply(
            lambda images: self._features(images, training),
            views,
            self._stack_backbone,
        )
        pooled = [ops.mean(float32(m), axis=(1, 2)) for m in maps]
        outputs = {"representations": tuple(pooled)}
        if self._has_global:
            outputs["embeddings"] = apply_head(
                self.expander, pooled, training, self._stack_heads
            )
        if self._has_local:
            # One long batch of positions; the expander knows no images.
            rows = [ops.reshape(m, (-1, m.shape[-1])) for m in maps]
            embedded = apply_head(
                self.local_expander, rows, training, self._stack_heads
            )
            outputs["local_embeddings"] = tuple(
                ops.reshape(row, (-1, m.shape[1] * m.shape[2], row.shape[-1]))
                for row, m in zip(embedded, maps, strict=True)
            )
            if to_source is not None:
                outputs["positions"] = tuple(
                    positions(matrix, *m.shape[1:3])
                    for matrix, m in zip(to_source, maps, strict=True)
                )
        if self.classifier is not None:
            outputs["logits"] = self.classifier(ops.stop_gradient(pooled[0]))
        return outputs

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """The objective of a batch; keeps its terms for the logs.

        Args:
            x: the batch, see the class.
            y: integer labels `(B,)`, needed with `num_classes`, in
                0..num_classes - 1, or -1 where there is none.
            y_pred: what `call` gave for it.
            sample_weight: not supported.
            training: not used.

        Returns:
            A float32 scalar.

        Raises:
            ValueError: with sample weights, or without labels for the
                classifier.
        """
        if sample_weight is not None:
            raise ValueError(
                "`sample_weight` is not supported, nor `class_weight`: the "
                "objective is made of statistics of a batch, not of a loss a "
                "sample. Leave them out."
            )
        if self._has_local:
            self._say_excess(y_pred["local_embeddings"])
        terms = vicregl_loss(
            y_pred.get("embeddings"),
            y_pred.get("local_embeddings"),
            y_pred.get("positions"),
            # Without local criteria there is no local branch to look at.
            alpha=self.alpha if self._has_local else 1.0,
            **self._coefficients,
            **self._options_for(x),
        )
        loss = terms.pop("loss")
        if not self._has_local:
            loss = self.alpha * loss
        representation = y_pred["representations"][0]
        terms["repr_std"], terms["repr_corr"] = collapse_monitors(
            ops.stop_gradient(representation)
        )
        if self._has_global:
            terms["emb_std"], terms["emb_corr"] = collapse_monitors(
                ops.stop_gradient(y_pred["embeddings"][0])
            )
        if self.classifier is not None:
            loss = loss + self._classify(y, y_pred["logits"])
        size = metric_weight(ops.shape(representation)[0])
        for name, value in terms.items():
            self._trackers[name].update_state(value, sample_weight=size)
        return loss + sum(self.losses)

    def fit(
        self, x: Any = None, *args: Any, callbacks: Any = None, **kwargs: Any
    ) -> Any:
        """`keras.Model.fit`, stopped by an error when the loss is not finite.

        Args:
            x: batches, see the class: a `tf.data.Dataset`, a `PyDataset`, a
                PyTorch `DataLoader`, a generator, or one dictionary of all
                examples. At the first batch, views that nobody seems to have
                normalised are told of.
            *args: as in `keras.Model.fit`.
            callbacks: as in `keras.Model.fit`; where there is no
                `models.StopOnNonFinite` it is added, together with
                `models.WarnOnSlowNorms`, except to a ready-made `CallbackList`.
            **kwargs: as in `keras.Model.fit`.

        Returns:
            A `History`.

        Raises:
            FloatingPointError: when the loss or a term is not finite.
            ValueError: if `x` has no views, or an argument is given that a
                model with its own objective has no use for: `class_weight`,
                `sample_weight`, `batch_size` of what comes in batches; if a
                generator is to be read again; at the first batch, if its parts
                are not of the same examples, or several processes have the
                same; and after a batch with labels that are not what they may
                be.
        """
        views = getattr(x, "multi_view", None)
        check_view_shapes(self.backbone, views)
        learn_normalization(self.backbone, views)
        if not isinstance(x, dict):
            # Keras warns of its own default where the data set has the order.
            kwargs.setdefault("shuffle", False)
        callbacks = _guarded(callbacks, FitGuard)
        return super().fit(x, *args, callbacks=callbacks, **kwargs)

    def evaluate(
        self, x: Any = None, *args: Any, callbacks: Any = None, **kwargs: Any
    ) -> Any:
        """`keras.Model.evaluate`, stopped by an error for impossible labels.

        Args:
            x: batches, as for `fit`.
            *args: as in `keras.Model.evaluate`.
            callbacks: as for `fit`.
            **kwargs: as in `keras.Model.evaluate`.

        Returns:
            The logs, as `keras.Model.evaluate`.

        Raises:
            ValueError: after a batch with labels that are not what they may be.
        """
        callbacks = _guarded(callbacks, StopOnNonFinite)
        return super().evaluate(x, *args, callbacks=callbacks, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """Everything `__init__` takes, JSON-serialisable."""
        options = self._local_options
        return {
            **super().get_config(),
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "alpha": self.alpha,
            "expander_units": list(self.expander_units),
            "local_expander_units": list(self.local_expander_units),
            "normalization": self.normalization,
            "num_matches": list(options.num_matches),
            "match_counts": options.match_counts,
            "feature_matches": list(options.feature_matches),
            "local_criteria": list(options.local_criteria),
            "max_distance": options.max_distance,
            "max_distance_unit": self.max_distance_unit,
            "regularize": options.regularize,
            **self._coefficients,
            "num_classes": self.num_classes,
            "stack_views": self.stack_views,
            "remat": self.remat,
            "synchronized": self.synchronized,
            "views": self.views
            and keras.saving.serialize_keras_object(self.views),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "VICRegL":
        """The inverse of `get_config`."""
        config = dict(config)
        for name in ("backbone", "views"):
            if isinstance(config.get(name), dict):
                config[name] = keras.saving.deserialize_keras_object(
                    config[name]
                )
        return cls(config.pop("backbone"), **config)

    @classmethod
    def from_recipe(cls, name: str, **kwargs: Any) -> "VICRegL":
        """The model of a recipe, with random weights.

        Args:
            name: a key of `keras_vicregl.recipes.RECIPES`, whose
                `make_views()` gives the views that go with it.
            **kwargs: arguments of `Recipe.make_model`: of `VICRegL`, to
                replace the recipe's, and `precision`.

        Returns:
            A `VICRegL`, with the recipe's precision where none is given.

        Raises:
            ValueError: if there is no recipe of that name.

        Example:

        ```python
        model = VICRegL.from_recipe("resnet50", alpha=0.9)
        ```
        """
        return provided("recipe")(cls, name, **kwargs)

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Any, backbone: Any = None, **kwargs: Any
    ) -> "VICRegL":
        """The model of a full PyTorch checkpoint, with its weights.

        The widths of the expanders, their normalisation and the online
        classifier are read off the checkpoint.

        Args:
            checkpoint: path of a `.pth` file, or a key of
                `keras_vicregl.checkpoints.PUBLISHED`, which is downloaded.
            backbone: a `ResNet` or `ConvNeXt`, or its name. By default that
                of the published run; a file does not say what it is of.
            **kwargs: further arguments of `VICRegL`. `alpha` is by default
                that of the published run. And `stem`, `"cycle"` or `"mean"`:
                how the first convolution is fitted to a backbone of other
                channels (see `keras_vicregl.backbone`).

        Returns:
            A `VICRegL`.

        Raises:
            FileNotFoundError: if the checkpoint is neither file nor name.
            ImportError: if PyTorch is not installed.
            ValueError: if the file is no full checkpoint, or of another
                backbone.

        Example:

        ```python
        model = VICRegL.from_checkpoint("resnet50_alpha0.9")
        ```
        """
        return provided("checkpoint")(cls, checkpoint, backbone, **kwargs)

    def _features(self, images: Any, training: bool | None) -> Any:
        if training and self._recomputed is not None:
            return self._recomputed(images)
        return self.backbone(images, training=training)

    def _say_excess(self, local_embeddings: Any) -> None:
        """Warns, once, of more matches than there are positions."""
        sizes = [maps.shape[1] for maps in local_embeddings]
        excess = self._local_options.excess(sizes)
        if excess and not self._excess_is_said:
            self._excess_is_said = True
            warn(
                f"{excess}: all of them are matched, and no more. Lower the "
                "count, or make views or maps larger, if that is not meant."
            )

    def _needs_positions(self) -> bool:
        by_location = "location" in self._local_options.local_criteria
        return self._has_local and by_location

    def _options_for(self, x: Any) -> dict[str, Any]:
        """The local options, with `max_distance` in pixels."""
        options = dict(vars(self._local_options))
        limit = options["max_distance"]
        if limit is not None and self.max_distance_unit == "diagonal":
            if "source_size" not in x:
                raise ValueError(
                    "'source_size' is missing from the batch: "
                    "`max_distance_unit='diagonal'` needs the height and width "
                    "(B, 2) of the source images."
                )
            diagonal = ops.norm(float32(x["source_size"]), axis=-1)
            options["max_distance"] = limit * diagonal
        return options

    def _classify(self, y: Any, logits: Any) -> Any:
        if y is None:
            raise ValueError(
                f"`num_classes={self.num_classes}` asks for an online "
                "classifier, but the data has no labels: yield (batch, labels)."
            )
        labels, counted, are_right = checked_labels(
            y, cast("int", self.num_classes)
        )
        seen = [for_metrics(x) for x in (labels, ops.stop_gradient(logits))]
        for accuracy in self._accuracies:
            accuracy.update_state(*seen, sample_weight=for_metrics(counted))
        losses = keras.losses.sparse_categorical_crossentropy(
            labels, logits, from_logits=True
        )
        # Replicas may have different numbers of labels.
        count = replica_mean(ops.sum(counted))
        loss = replica_mean(ops.sum(counted * losses)) / ops.maximum(count, 1)
        self._trackers[CLASSIFIER_LOSS].update_state(
            # Not finite, though the loss is: `StopOnNonFinite` knows why.
            ops.where(replica_mean(are_right) == 1, loss, float("nan")),
            sample_weight=metric_weight(count),
        )
        return loss


def _guarded(callbacks: Any, guard: type[StopOnNonFinite]) -> Any:
    """Callbacks with a `StopOnNonFinite`, unless it is a list of Keras'."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks
    if isinstance(callbacks, keras.callbacks.Callback):
        callbacks = [callbacks]
    callbacks = [*(callbacks or [])]
    if any(isinstance(c, WarnOnSlowNorms) for c in callbacks):
        guard = StopOnNonFinite  # so that they are told of once
    if not any(isinstance(c, StopOnNonFinite) for c in callbacks):
        callbacks.insert(0, guard())
    return callbacks
