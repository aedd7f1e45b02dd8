"""Evaluation of a backbone: kNN, linear layer, segmentation, detection."""

from keras_vicregl.evaluation._features import (
    extract_features,
    normalize_images,
)
from keras_vicregl.evaluation.average_precision import coco_average_precision
from keras_vicregl.evaluation.confusion import (
    class_iou,
    confusion_matrix,
    mean_iou,
)
from keras_vicregl.evaluation.detection import DetectionResult, train_detection
from keras_vicregl.evaluation.detector import Detector
from keras_vicregl.evaluation.finetuning import (
    evaluate_augmented_linear,
    evaluate_finetuning,
)
from keras_vicregl.evaluation.image_batches import image_batches
from keras_vicregl.evaluation.knn import evaluate_knn
from keras_vicregl.evaluation.label_subset import label_subset
from keras_vicregl.evaluation.linear import evaluate_linear
from keras_vicregl.evaluation.rank import effective_rank
from keras_vicregl.evaluation.segmentation import evaluate_segmentation
from keras_vicregl.evaluation.segmentation_protocols import (
    SEGMENTATION_PROTOCOLS,
    SegmentationProtocol,
)
from keras_vicregl.evaluation.segmentation_training import (
    SegmentationResult,
    train_segmentation,
)
from keras_vicregl.evaluation.segmenter import Segmenter

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
    "train_detection",
    "train_segmentation",
]
