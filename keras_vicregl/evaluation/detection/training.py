"""Object detection on a backbone, fine-tuned or frozen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import keras
import numpy as np

from keras_vicregl.data.sources.image_source import ImageSource
from keras_vicregl.evaluation.checks import check_training
from keras_vicregl.evaluation.detection import data as detection_data
from keras_vicregl.evaluation.detection.anchors import assign
from keras_vicregl.evaluation.detection.average_precision import (
    import_pycocotools,
)
from keras_vicregl.evaluation.detection.detector import Detector
from keras_vicregl.evaluation.detection.objects import is_counted
from keras_vicregl.evaluation.detection.retinanet import (
    RetinaNetLoss,
    backbone_strides,
    retinanet,
)
from keras_vicregl.evaluation.features.batches import Data
from keras_vicregl.evaluation.features.extraction import (
    Preprocess,
    normalize_images,
    preprocess_for,
)
from keras_vicregl.evaluation.progress import counted
from keras_vicregl.models.backbones.copies import copy_of
from keras_vicregl.models.backbones.pyramid import PyramidBackbone
from keras_vicregl.optimizers import AdamW, warmup_cosine

_CLIPNORM = 10.0
_WARMUP = 0.1  # share of the epochs


class DetectionResult(NamedTuple):
    """What `train_detection` returns.

    Attributes:
        figures: On `test`, as `coco_average_precision`.
        detector: The trained model, for other images.
        losses: (epochs,) float32, the mean of each epoch.
    """

    figures: dict[str, float]
    detector: Detector
    losses: np.ndarray


def train_detection(
    backbone: keras.Model,
    train: Data | ImageSource,
    test: Data | ImageSource,
    *,
    num_classes: int | None = None,
    size: int | tuple[int, int] | None = None,
    frozen: bool = False,
    strides: Sequence[int] = (4, 8, 16),
    channels: int = 64,
    depth: int = 2,
    epochs: int = 12,
    learning_rate: float = 2e-3,
    weight_decay: float = 1e-4,
    batch_size: int = 16,
    smallest_score: float = 0.05,
    max_detections: int = 100,
    seed: int = 0,
    preprocess: Preprocess = normalize_images,
) -> DetectionResult:
    """Trains a RetinaNet on a backbone, and tests it by COCO's precision.

    A feature pyramid and heads for classes and boxes, the same at each level,
    on nine anchors a position (sides of 4, 5 and 6.3 strides, width to height
    1/2, 1 and 2), trained with focal and smooth L1 loss: Lin et al., "Focal
    Loss for Dense Object Detection" (2017). Trained by AdamW with gradients
    clipped to a norm of 10 and a learning rate that rises over a tenth of the
    steps and follows a cosine to 0, without augmentation. In test, boxes of one
    class that overlap by an IoU of more than 0.5 with one of a higher score are
    dropped, and what is left is judged by `coco_average_precision`.

    The defaults suit thousands of images of 64 pixels. For COCO the paper has
    images of 800 pixels, `strides=(8, 16, 32, 64, 128), channels=256, depth=4`
    and 90,000 steps of 16 images.

    `backbone` itself stays as it is: a copy of it is trained.

    Needs pycocotools: `pip install "keras-vicregl[detection]"`.

    Args:
        backbone: One of `keras_vicregl.models.backbones`, or any model with
            their `pyramid_outputs` and `pyramid_strides` that its
            `from_config` makes again, for images of the size that it takes.
        train: What `keras_vicregl.data.load` returns with `boxes=True`; a
            dictionary of arrays, `"images"` (N, H, W, 3), `"boxes"` (N, M, 4)
            and integer `"box_classes"` (N, M); or an iterable over batches of
            that kind, as `keras_vicregl.data.detection_batches` makes them,
            which can be gone through again and again, once more than there are
            epochs. Boxes are left, top, right and bottom in pixels, at least
            one in the whole set; those of the class -1 are padding. Optionally
            `"box_is_crowd"` and `"box_is_difficult"` (N, M), which are neither
            trained on nor counted, and `"box_areas"`: see
            `coco_average_precision`. Images whose height or width is no
            multiple of the coarsest stride taken from the backbone are filled
            up to the right and at the bottom.
        test: As `train`.
        num_classes: Default: the number of names of classes that the source
            has, or else one more than the largest training class.
        size: Height and width, or one number for both, that images of a source
            or of arrays are fitted into, with their boxes, and filled up, see
            `detection_batches`; needed where they may differ in size. None:
            images stay as they are. Not for iterables.
        frozen: Whether the backbone keeps its weights, and stays in inference
            mode, while what is on it is trained.
        strides: Pixels per position of the levels, each twice the one before,
            the first of which the backbone has. Those that it does not have,
            are made by convolutions from its coarsest level.
        channels: Of the pyramid and of the heads.
        depth: Convolutions of 3 x 3 in each head, before the last.
        epochs: Passes over the training images.
        learning_rate: The highest.
        weight_decay: Of AdamW, decoupled and times the learning rate; of
            kernels, not of biases and normalisations.
        batch_size: Images in a step. Of arrays all, if there are fewer, and the
            rest of an epoch is dropped. Iterables come in batches already.
        smallest_score: Boxes with a lower score are dropped in test.
        max_detections: Boxes kept in an image.
        seed: Of the initial weights but the backbone's, and of the order of
            arrays and sources.
        preprocess: Applied to each batch of images before the backbone, or
            None. See `extract_features`.

    Returns:
        Figures on `test`, areas being in pixels of the images given, the
        trained model, and the losses.

    Raises:
        ValueError: If an argument is outside what it may be, the backbone has
            no pyramid or not with these strides, keys are missing or arrays
            differ in length, boxes are not finite, have no area or are not
            within their image, classes are out of range, there is no box in
            `train` or in `test`, or training diverges.
        ImportError: If pycocotools is not installed.
    """
    check_training(epochs, learning_rate, weight_decay)
    _check_settings(channels, depth, batch_size, max_detections, smallest_score)
    import_pycocotools()  # lest it be missed after hours
    preprocess = preprocess_for(backbone, preprocess)
    coarsest = backbone_strides(backbone, strides)[-1]
    names = getattr(train, "box_class_names", None)
    if num_classes is None and names is not None:
        num_classes = len(names)
    train = detection_data.as_batches(
        train, size, batch_size, "train", shuffle=True, seed=seed
    )
    test = detection_data.as_batches(test, size, batch_size, "test")
    steps, num_classes = detection_data.survey(train, batch_size, num_classes)
    network = retinanet(
        _copied(backbone, frozen),
        num_classes,
        strides=strides,
        channels=channels,
        depth=depth,
        seed=seed,
    )
    detector = Detector(
        network,
        tuple(strides),
        coarsest,
        preprocess,
        batch_size,
        smallest_score,
        max_detections=max_detections,
    )
    schedule = warmup_cosine(
        learning_rate, 256, steps, epochs, _WARMUP * epochs, final_fraction=0
    )
    network.compile(
        AdamW(schedule, weight_decay, global_clipnorm=_CLIPNORM),
        RetinaNetLoss(),
    )
    rng = np.random.default_rng(seed)
    losses = [
        _train(
            detector,
            detection_data.shuffled(train, batch_size, num_classes, rng),
        )
        for _ in counted(range(epochs), "detection", "epochs")
    ]
    return DetectionResult(
        detector.evaluate(test), detector, np.array(losses, np.float32)
    )


def _train(
    detector: Detector, batches: Iterable[detection_data.Batch]
) -> float:
    """Trains on each batch once and returns the mean loss of all images."""
    network = detector.model
    total, count = 0.0, 0
    for images, _, objects in batches:
        inputs, anchors = detector.inputs(images)
        targets = [
            assign(anchors, each.boxes, each.classes, ~is_counted(each))
            for each in objects
        ]
        # Older versions of Keras do not do this in `train_on_batch`.
        network.reset_metrics()
        loss = network.train_on_batch(inputs, np.stack(targets))
        total += len(inputs) * float(loss)
        count += len(inputs)
    return total / count


def _copied(backbone: keras.Model, frozen: bool) -> keras.Model:
    if isinstance(backbone, PyramidBackbone):
        copy = copy_of(backbone)  # for images of any size
    else:
        copy = type(backbone).from_config(backbone.get_config())
        copy.set_weights(backbone.get_weights())
    copy.trainable = not frozen
    return copy


def _check_settings(
    channels: int,
    depth: int,
    batch_size: int,
    max_detections: int,
    smallest_score: float,
) -> None:
    counts = {
        "channels": (channels, 1),
        "depth": (depth, 0),
        "batch_size": (batch_size, 1),
        "max_detections": (max_detections, 1),
    }
    for name, (value, smallest) in counts.items():
        if value < smallest:
            raise ValueError(
                f"{name} must be at least {smallest}. Received: {name}={value}"
            )
    if not 0 <= smallest_score < 1:
        raise ValueError(
            "smallest_score must be at least 0 and below 1. Received: "
            f"smallest_score={smallest_score}"
        )
