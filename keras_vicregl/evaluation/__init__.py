"""Evaluation of a backbone: kNN, linear layer, segmentation, detection.

In come a backbone, or its features, and labelled data, out go figures of merit
and trained predictors. `features` is what `classification`, `segmentation` and
`detection` stand on. It uses models, data and optimizers; trainings and
pictures use it.
"""

from keras_vicregl.evaluation.classification.finetuning import (
    evaluate_augmented_linear,
    evaluate_finetuning,
)
from keras_vicregl.evaluation.classification.knn import evaluate_knn
from keras_vicregl.evaluation.classification.label_subset import label_subset
from keras_vicregl.evaluation.classification.linear import evaluate_linear
from keras_vicregl.evaluation.detection.average_precision import (
    coco_average_precision,
)
from keras_vicregl.evaluation.detection.detector import Detector
from keras_vicregl.evaluation.detection.training import (
    DetectionResult,
    train_detection,
)
from keras_vicregl.evaluation.features.extraction import (
    extract_features,
    normalize_images,
)
from keras_vicregl.evaluation.features.image_batches import image_batches
from keras_vicregl.evaluation.features.rank import effective_rank
from keras_vicregl.evaluation.progress import show_progress
from keras_vicregl.evaluation.segmentation.confusion import (
    class_iou,
    confusion_matrix,
    mean_iou,
)
from keras_vicregl.evaluation.segmentation.linear import evaluate_segmentation
from keras_vicregl.evaluation.segmentation.protocols import (
    SEGMENTATION_PROTOCOLS,
    SegmentationProtocol,
)
from keras_vicregl.evaluation.segmentation.segmenter import Segmenter
from keras_vicregl.evaluation.segmentation.training import (
    SegmentationResult,
    train_segmentation,
)

__all__ = [
    "SEGMENTATION_PROTOCOLS",
    "DetectionResult",
    "Detector",
    "SegmentationProtocol",
    "SegmentationResult",
    "Segmenter",
    "class_iou",
    "coco_average_precision",
    "confusion_matrix",
    "effective_rank",
    "evaluate_augmented_linear",
    "evaluate_finetuning",
    "evaluate_knn",
    "evaluate_linear",
    "evaluate_segmentation",
    "extract_features",
    "image_batches",
    "label_subset",
    "mean_iou",
    "normalize_images",
    "show_progress",
    "train_detection",
    "train_segmentation",
]
