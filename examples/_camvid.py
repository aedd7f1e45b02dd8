"""CamVid as the study of real photographs reads it."""

CLASSES = (
    "sky",
    "building",
    "pole",
    "road",
    "pavement",
    "tree",
    "sign",
    "fence",
    "car",
    "pedestrian",
    "bicyclist",
)
IGNORE = 11
HEAD_EPOCHS = 20


def read_frames(folder, split):
    """Images (N, 180, 240, 3) uint8, means of 2 x 2 pixels, and their masks.

    Masks have every second row and column of the labels.
    """
    import numpy as np

    from keras_vicregl.data import camvid

    images, masks = [], []
    for example in camvid(folder, split).examples():
        image = example["images"]
        height, width = (side // 2 for side in image.shape[:2])
        image = image[: 2 * height, : 2 * width].astype("float32")
        blocks = image.reshape(height, 2, width, 2, 3)
        images.append(np.rint(blocks.mean((1, 3))).astype("uint8"))
        masks.append(example["segmentation_masks"][1::2, 1::2])
    return {"images": np.stack(images), "segmentation_masks": np.stack(masks)}


def percentages(figures):
    """Fractions in percent, and classes by name."""
    names = {f"iou_{i}": f"iou_{name}" for i, name in enumerate(CLASSES)}
    return {
        names.get(name, name): round(100 * float(value), 3)
        for name, value in figures.items()
    }


def frozen(backbone, train, test, seed, **options):
    """Figures of a linear head on the frozen feature map.

    Args:
        backbone: maps images to one feature map.
        train: what `read_frames` returns.
        test: as `train`.
        seed: of the head's weights and batches.
        **options: of `extract_features`.
    """
    from keras_vicregl.evaluation import evaluate_segmentation, extract_features

    features = [
        extract_features(backbone, data, **options) for data in (train, test)
    ]
    # A quarter of the pixels makes the same head in a quarter of the time.
    masks = features[0]["segmentation_masks"][:, 1::2, 1::2]
    return evaluate_segmentation(
        None,
        {**features[0], "segmentation_masks": masks},
        features[1],
        num_classes=len(CLASSES),
        ignore_label=IGNORE,
        epochs=HEAD_EPOCHS,
        seed=seed,
    )
