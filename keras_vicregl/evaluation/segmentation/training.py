"""Segmentation on a backbone that runs in training: linear or fine-tuned."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import keras
import numpy as np

from keras_vicregl.evaluation.features.extraction import (
    Preprocess,
    extract_features,
    normalize_images,
    preprocess_for,
)
from keras_vicregl.evaluation.features.middles import middle
from keras_vicregl.evaluation.progress import counted
from keras_vicregl.evaluation.segmentation.augmentation import (
    Augmentation,
    crop_batches,
)
from keras_vicregl.evaluation.segmentation.examples import (
    UNLABELLED,
    Labels,
    endless_examples,
)
from keras_vicregl.evaluation.segmentation.head import (
    PixelCrossEntropy,
    decay,
    linear_head,
)
from keras_vicregl.evaluation.segmentation.model import (
    SegmentationModel,
    dense_features,
)
from keras_vicregl.evaluation.segmentation.protocols import (
    SegmentationProtocol,
    segmentation_protocol,
)
from keras_vicregl.evaluation.segmentation.segmenter import Segmenter
from keras_vicregl.models.plumbing import check_image_shape
from keras_vicregl.optimizers import AdamW, WarmupPolynomial

if TYPE_CHECKING:
    from keras_vicregl.data.sources.image_source import ImageSource
    from keras_vicregl.evaluation.features.batches import Data


class SegmentationResult(NamedTuple):
    """What `train_segmentation` returns.

    Attributes:
        figures: On `test`, as `evaluate_segmentation`.
        segmenter: The trained model, for other images.
        losses: (iterations,) float32, of each step.
    """

    figures: dict[str, float]
    segmenter: Segmenter
    losses: np.ndarray


def train_segmentation(
    backbone: keras.Model,
    train: Data | ImageSource,
    test: Data | ImageSource,
    *,
    num_classes: int,
    size: int | None = None,
    resize: int | None = None,
    protocol: str | SegmentationProtocol = "resnet",
    frozen: bool = True,
    ignore_label: int | None = 255,
    seed: int = 0,
    preprocess: Preprocess = normalize_images,
    verbose: bool = False,
    **changes: Any,
) -> SegmentationResult:
    """Trains a linear segmentation head on random crops, and tests it.

    Batch normalisation and a 1 x 1 convolution, whose scores are upsampled
    bilinearly to the crop and trained with softmax cross-entropy: the linear
    evaluation of Bardes et al., "VICRegL" (NeurIPS 2022), with
    `protocol="resnet"` or `"convnext"`, 40,000 iterations of 16 crops of 512
    pixels. A ResNet's last strides are replaced by dilation and its images
    taken whole in test; of a ConvNeXt the maps of all four stages are
    concatenated, and images cut into windows. Images are scaled, cropped and
    flipped at random together with their masks; colours are left as they are.

    With `frozen=True` the backbone is in inference mode and not one of its
    weights changes. With `frozen=False` all of it is trained, with a smaller
    learning rate. Either works on a copy: `backbone` stays what it is.

    For features that are computed once, without augmentation, see
    `evaluate_segmentation`.

    Args:
        backbone: Maps (B, H, W, 3) to one feature map (B, h, w, F). Protocols
            with an `output_stride` or `stages` need one of this package.
        train: Images and masks, of any sizes, each mask of its image's: an
            `ImageSource` of `load`; a dictionary of arrays, `"images"` (N, H,
            W, 3) and integer `"segmentation_masks"` (N, H, W, 1) or (N, H, W);
            or an iterable that can be iterated over again, over such
            dictionaries or pairs (images, masks), of batches or of single
            examples. The first two are read in another order in each epoch, an
            iterable in its own.
        test: As `train`.
        num_classes: Number of classes.
        size: Side of the square in pixels that is cut out of the middle of each
            image, before anything else, see `image_batches`. None: images are
            taken whole. Not for iterables.
        resize: Their shorter side before that. Default: 8/7 of `size`.
        protocol: A key of `SEGMENTATION_PROTOCOLS`, or a protocol.
        frozen: Whether the backbone is.
        ignore_label: Pixels with this label are left out of training and test,
            and those with the `ignore_label` of a source. None: there are no
            others.
        seed: Of the initial weights of the head, the order and the crops.
        preprocess: Applied to batches of one crop, float32, and to test images
            before the backbone, or None. See `extract_features`.
        verbose: Whether to show a progress bar.
        **changes: Fields of the protocol that are to be different, such as
            `iterations=1000`.

    Returns:
        Figures on `test`, the trained model, and the losses.

    Raises:
        ValueError: If an argument is outside what it may be; the data are
            empty, lack masks, have masks of another size than their images or
            labels out of range, or no pixel with a label; features are not
            finite; or training diverges.

    Example:

    >>> from keras_vicregl.models.backbones import backbone
    >>> rng = np.random.default_rng(0)
    >>> masks = rng.integers(0, 2, (8, 2, 2)).repeat(16, 1).repeat(16, 2)
    >>> images = np.stack([masks, 1 - masks, masks], -1).astype("uint8") * 255
    >>> data = {"images": images, "segmentation_masks": masks}
    >>> small = backbone("small_resnet", widths=(4, 4, 8, 8))
    >>> result = train_segmentation(
    ...     small, data, data, num_classes=2, iterations=20, crop_size=32,
    ...     batch_size=4, learning_rate=0.1,
    ... )
    >>> result.figures["pixel_accuracy"] > 0.5
    True
    """
    protocol = segmentation_protocol(protocol, **changes)
    if num_classes < 1:
        raise ValueError(
            f"num_classes must be at least 1. Received: {num_classes}"
        )
    cut = middle(size, resize)
    preprocess = preprocess_for(backbone, preprocess)
    crop_size = cast("tuple[int, int]", protocol.crop_size)
    features = dense_features(backbone, protocol)
    check_image_shape(features, (*crop_size, None), "crops")
    features.trainable = not frozen
    head = linear_head(
        features.output_shape[-1],
        num_classes,
        dropout=protocol.dropout,
        seed=seed,
    )
    model = SegmentationModel(features, head, frozen)
    if protocol.optimizer == "sgd":
        decay(model.trainable_variables, protocol.weight_decay)
    model.compile(
        optimizer=_optimizer(protocol, features.trainable_variables),
        loss=PixelCrossEntropy(UNLABELLED),
    )
    augmentation = Augmentation(
        crop_size,
        protocol.scales,
        protocol.flip,
        protocol.shorter_side,
    )
    labels = Labels(num_classes, ignore_label)
    batches = crop_batches(
        endless_examples(train, "train", labels, seed, cut),
        augmentation,
        protocol.iterations,
        protocol.batch_size,
        preprocess,
    )
    losses = _train(model, batches, protocol, verbose)
    images = keras.Input(features.input_shape[1:])
    segmenter = Segmenter(
        keras.Model(images, head(features(images))),
        preprocess,
        protocol.shorter_side,
        protocol.window,
        protocol.window_stride,
        protocol.batch_size,
    )
    figures = segmenter.evaluate(
        test, ignore_label=ignore_label, size=size, resize=resize
    )
    return SegmentationResult(figures, segmenter, losses)


def _optimizer(
    protocol: SegmentationProtocol, slower: list[Any]
) -> keras.optimizers.Optimizer:
    """The optimizer of a protocol.

    Args:
        protocol: The protocol.
        slower: Variables with `backbone_factor` times the learning rate.
    """

    def optimizer(factor: float) -> keras.optimizers.Optimizer:
        schedule = WarmupPolynomial(
            factor * protocol.learning_rate,
            protocol.iterations,
            protocol.power,
            factor * protocol.end_learning_rate,
            protocol.warmup,
        )
        if protocol.optimizer == "sgd":
            return keras.optimizers.SGD(schedule, momentum=0.9)
        return AdamW(schedule, weight_decay=protocol.weight_decay)

    if not slower or protocol.backbone_factor == 1:
        return optimizer(1.0)
    of_head, of_backbone = optimizer(1.0), optimizer(protocol.backbone_factor)
    paths = {variable.path for variable in slower}
    return keras.optimizers.MultiOptimizer(
        lambda variable: of_backbone if variable.path in paths else of_head
    )


def _train(
    model: SegmentationModel,
    batches: Any,
    protocol: SegmentationProtocol,
    verbose: bool,
) -> np.ndarray:
    """Losses of all steps."""
    losses = np.zeros(protocol.iterations, np.float32)
    bar = keras.utils.Progbar(protocol.iterations, verbose=int(verbose))
    labelled = False
    made: Iterator[tuple[int, Any]] = enumerate(batches)
    if not verbose:  # which has a bar
        made = counted(made, "segmentation", "steps", protocol.iterations)
    for step, (images, masks) in made:
        model.reset_metrics()
        loss = float(model.train_on_batch(images, masks))
        if not np.isfinite(loss):
            # If it is the features that are not finite, this says so.
            inputs = {"images": images}
            extract_features(model.features, inputs, preprocess=None)
            raise ValueError(
                f"The segmentation diverged: its loss is {loss} in step "
                f"{step}. Lower learning_rate. Received: "
                f"learning_rate={protocol.learning_rate}"
            )
        losses[step] = loss
        labelled = labelled or bool((masks != UNLABELLED).any())
        bar.update(step + 1, [("loss", loss)])
    if not labelled:
        raise ValueError(
            "No pixel of train had a label: all crops were of pixels with "
            "ignore_label only."
        )
    return losses
