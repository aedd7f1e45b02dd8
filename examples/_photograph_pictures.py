"""Pictures of the study of real photographs."""

from _camvid import CLASSES, IGNORE

SHOWN = 4  # frames


def draw(backbones, train, test, seed, training, folder):
    """Writes pictures of features and of predicted segmentations.

    Args:
        backbones: by their titles.
        train: images and masks that linear heads learn from.
        test: those of which some are shown, spread evenly.
        seed: of the heads.
        training: fields of `SegmentationProtocol`.
        folder: where pictures are put.
    """
    import numpy as np

    from keras_vicregl.evaluation import extract_features, train_segmentation
    from keras_vicregl.visualization import (
        plot_feature_maps,
        plot_segmentations,
        save,
    )

    chosen = np.linspace(0, len(test["images"]) - 1, SHOWN + 2)[1:-1]
    shown = {name: v[chosen.astype(int)] for name, v in test.items()}
    images, masks = shown["images"], shown["segmentation_masks"]
    maps, predictions = {}, {}
    for title, backbone in backbones.items():
        features = extract_features(backbone, {"images": images})
        maps[title] = features["features"]
        segmenter = train_segmentation(
            backbone,
            train,
            shown,
            num_classes=len(CLASSES),
            ignore_label=IGNORE,
            seed=seed,
            **{**training, "optimizer": "sgd", "learning_rate": 0.1},
        ).segmenter
        predictions[title] = np.stack(segmenter.predict(images))
    save(plot_feature_maps(images, maps), folder / "features.png")
    save(
        plot_segmentations(
            images,
            masks,
            predictions,
            class_names=CLASSES,
            ignore_label=IGNORE,
        ),
        folder / "segmentations.png",
    )
