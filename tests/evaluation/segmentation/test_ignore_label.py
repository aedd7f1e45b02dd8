"""A label that stands for no class is a fact of the source."""

import numpy as np
import pytest
from backend_tools import eager_steps
from known_features import averaging_backbone
from test_segmentation import blocky_masks

from keras_vicregl.data import load, subset
from keras_vicregl.evaluation import (
    evaluate_segmentation,
    image_batches,
    train_segmentation,
)
from keras_vicregl.training import feature_evaluation

VOID = 3
CLASSES = 3


@pytest.fixture(autouse=True)
def eager():
    """Under TensorFlow tracing takes most of the time of a few steps."""
    with eager_steps():
        yield


def colours(seed):
    """Blocks whose colour is their class, void ones among them."""
    masks = blocky_masks(8, 16, CLASSES + 1, 8, seed)
    images = (np.eye(4, 3, dtype=np.uint8) * 255)[masks]
    return {
        "images": images,
        "segmentation_masks": masks.astype("uint8")[..., None],
    }


DATA = {part: colours(seed) for seed, part in enumerate(("train", "test"))}
SOURCES = {k: load(v, ignore_label=VOID) for k, v in DATA.items()}
OPTIONS = {"epochs": 3, "batch_size": 4}


def test_it_is_a_fact_of_what_comes_of_a_source():
    source = SOURCES["train"]
    assert source.ignore_label == VOID
    assert subset(source, np.array([0, 2, 3])).ignore_label == VOID
    assert load(DATA["train"]).ignore_label == 255
    # As the masks are, so that nothing is lost.
    np.testing.assert_array_equal(
        source._arrays["segmentation_masks"],
        DATA["train"]["segmentation_masks"],
    )
    (batch,) = image_batches(source)
    masks = DATA["train"]["segmentation_masks"]
    np.testing.assert_array_equal(
        batch["segmentation_masks"], np.where(masks == VOID, 255, masks)
    )
    assert batch["segmentation_masks"].dtype == np.uint8


@pytest.mark.parametrize("given", [{}, {"ignore_label": VOID}], ids=str)
def test_evaluations_leave_it_out(given):
    backbone = averaging_backbone(8)
    expected = evaluate_segmentation(
        backbone, **DATA, ignore_label=VOID, **OPTIONS
    )
    assert f"iou_{VOID}" not in expected
    batches = {k: image_batches(v) for k, v in SOURCES.items()}
    found = evaluate_segmentation(backbone, **batches, **given, **OPTIONS)
    assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)


@pytest.mark.parametrize("given", [{}, {"ignore_label": VOID}], ids=str)
def test_evaluations_during_training_leave_it_out(given):
    class Model:
        backbone = averaging_backbone(8)

    expected = evaluate_segmentation(
        Model.backbone, **DATA, ignore_label=VOID, **OPTIONS
    )
    evaluate = feature_evaluation(
        **SOURCES, evaluations={"segmentation": {**OPTIONS, **given}}
    )
    assert evaluate(Model)["segmentation_mean_iou"] == pytest.approx(
        expected["mean_iou"], abs=1e-6
    )


def test_what_is_trained_on_crops_leaves_it_out():
    options = {
        "num_classes": CLASSES,
        "iterations": 3,
        "crop_size": 16,
        "batch_size": 2,
        "output_stride": "as_is",
    }
    backbone = averaging_backbone(4)
    expected = train_segmentation(
        backbone, **DATA, ignore_label=VOID, **options
    )
    found = train_segmentation(backbone, **SOURCES, **options)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-5)
    assert found.figures == pytest.approx(expected.figures, nan_ok=True)


def test_messages_name_the_argument():
    backbone = averaging_backbone(8)
    with pytest.raises(ValueError, match=r"0 to 3.*ignore_label"):
        evaluate_segmentation(backbone, **DATA, num_classes=CLASSES)
    with pytest.raises(ValueError, match=r"0 to 3.*ignore_label"):
        train_segmentation(
            backbone,
            **DATA,
            num_classes=CLASSES,
            iterations=1,
            crop_size=16,
            output_stride="as_is",
        )
    with pytest.raises(ValueError, match=r"must be an integer.*'void'"):
        evaluate_segmentation(
            backbone, **DATA, num_classes=CLASSES, ignore_label="void"
        )
    with pytest.raises(ValueError, match=r"ignore_label=3 was given.*no masks"):
        load(DATA["train"]["images"], ignore_label=VOID)
    with pytest.raises(ValueError, match=r"from 0 to 255. Received: ignore_l"):
        load(DATA["train"], ignore_label=256)


@pytest.mark.parametrize("own", [VOID, 255])
def test_that_of_the_caller_comes_to_that_of_a_source(own):
    """Neither is trained on or counted, and nothing becomes a class."""
    arrays = {
        part: {
            **data,
            "segmentation_masks": np.where(
                data["segmentation_masks"] == VOID,
                own,
                data["segmentation_masks"],
            ).astype("uint8"),
        }
        for part, data in DATA.items()
    }
    # Class 2 is left out by the argument, and void by the source.
    both = {
        part: {
            **data,
            "segmentation_masks": np.where(
                data["segmentation_masks"] >= CLASSES - 1,
                255,
                data["segmentation_masks"],
            ).astype("uint8"),
        }
        for part, data in DATA.items()
    }
    backbone = averaging_backbone(8)
    expected = evaluate_segmentation(backbone, **both, **OPTIONS)
    assert set(expected) == {"mean_iou", "pixel_accuracy", "iou_0", "iou_1"}
    sources = {k: load(v, ignore_label=own) for k, v in arrays.items()}
    found = evaluate_segmentation(
        backbone, **sources, ignore_label=CLASSES - 1, **OPTIONS
    )
    assert found == pytest.approx(expected, abs=1e-6)
    evaluate = feature_evaluation(
        **sources,
        evaluations={"segmentation": {**OPTIONS, "ignore_label": CLASSES - 1}},
    )

    class Model:
        backbone = averaging_backbone(8)

    assert evaluate(Model)["segmentation_mean_iou"] == pytest.approx(
        expected["mean_iou"], abs=1e-6
    )


def test_none_leaves_that_of_a_source():
    backbone = averaging_backbone(8)
    expected = evaluate_segmentation(backbone, **SOURCES, **OPTIONS)
    found = evaluate_segmentation(
        backbone, **SOURCES, ignore_label=None, **OPTIONS
    )
    assert found == pytest.approx(expected, abs=1e-6)
