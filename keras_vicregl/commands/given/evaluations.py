"""Names of what judges a backbone, for both commands that do so."""

# On frozen features: of `feature_evaluation` too.
ON_FEATURES = ("knn", "linear", "segmentation", "rank")
# On images, which train something.
TRAINED = ("linear_augmented", "finetuning", "train_segmentation", "detection")
