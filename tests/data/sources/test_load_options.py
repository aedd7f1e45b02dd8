"""Every combination of the options of `load`, read once."""

import itertools

import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from image_files import encoded, picture  # noqa: E402
from PIL import Image  # noqa: E402

from keras_vicregl.data import load  # noqa: E402

NAMES = ("ant/0", "ant/1", "bee/0", "bee/1")
LABELS = [0, 0, 1, 1]


def pixels(row):
    """Of image `row`, (24, 31, 3) uint8."""
    return picture(seed=row)


def mask(row):
    """Of image `row`, (24, 31) uint8: 0 to 3."""
    return (np.indices((24, 31)).sum(0) // 3 + row).astype("uint8") % 4


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Images in two folders, and masks, every other one with a palette."""
    root = tmp_path_factory.mktemp("data")
    for row, name in enumerate(NAMES):
        for part in ("images", "masks"):
            (root / part / name).parent.mkdir(parents=True, exist_ok=True)
        image = root / "images" / f"{name}.png"
        image.write_bytes(encoded(pixels(row)))
        labels = Image.fromarray(mask(row))
        if row % 2:
            labels = Image.fromarray(mask(row), "P")
            labels.putpalette(bytes(range(256)) * 3)
        (root / "masks" / f"{name}.png").write_bytes(encoded(labels))
    return root


OPTIONS = {
    "kind": ("folder", "files"),
    "masks": (False, True),
    "mask_labels": (None, {1: 0, 2: 1, 3: 2}),
    "labels": (False, True),
    "cache": ("none", "memory", "disk"),
    "on_error": ("raise", "skip"),
}
COMBINATIONS = [
    dict(zip(OPTIONS, values, strict=True))
    for values in itertools.product(*OPTIONS.values())
]
# Masks are what their labels belong to.
COMBINATIONS = [c for c in COMBINATIONS if c["masks"] or not c["mask_labels"]]


def opened(root, folder, *, kind, masks, labels, cache, **options):
    """The source that a combination describes."""
    options["cache"] = {"none": False, "memory": True, "disk": folder}[cache]
    if kind == "folder":
        options["masks"] = root / "masks" if masks else None
        return load(root / "images", labels=labels, **options)
    paths = [root / "images" / f"{name}.png" for name in NAMES]
    if masks:
        options["masks"] = [root / "masks" / f"{name}.png" for name in NAMES]
    return load(paths, labels=LABELS if labels else False, **options)


def expected_mask(row, mask_labels):
    table = np.arange(256, dtype=np.uint8)
    if mask_labels:
        table[:] = 255
        table[list(mask_labels)] = list(mask_labels.values())
    return table[mask(row)]


@pytest.mark.parametrize(
    "options",
    COMBINATIONS,
    ids=lambda c: "-".join(str(v) for v in c.values() if v != "none"),
)
def test_every_combination_is_read(root, tmp_path, options):
    """In a graph, where the decoder must know that contents are scalars.

    What it makes of them depends on masks and their labels only: decoding, of
    which the graph is large, is in the next test.
    """
    source = opened(root, tmp_path, **options)
    read = source._reader()
    found = tf.data.Dataset.range(len(NAMES)).map(lambda row: read(row, {}))
    assert all(spec.shape == () for spec in found.element_spec.values())
    for name, label, example in zip(NAMES, LABELS, found, strict=True):
        expected = {"images": (root / "images" / f"{name}.png").read_bytes()}
        if options["labels"]:
            expected["labels"] = label
        if options["masks"]:
            path = root / "masks" / f"{name}.png"
            expected["segmentation_masks"] = path.read_bytes()
        assert {k: v.numpy() for k, v in example.items()} == expected


# Each value of each option. (That there is no cache, or no mask, others test.)
DECODED = [
    dict(zip(OPTIONS, values, strict=True))
    for values in (
        ("files", True, OPTIONS["mask_labels"][1], False, "memory", "skip"),
        ("folder", True, None, True, "disk", "raise"),
    )
]


@pytest.mark.parametrize("options", DECODED, ids=lambda c: c["cache"])
def test_combinations_are_decoded(root, tmp_path, options):
    source = opened(root, tmp_path, **options)
    # Twice: the second time from the cache.
    dataset = source.dataset()
    for example in (*dataset.take(2), *dataset):
        example = {k: v.numpy() for k, v in example.items()}
        row = next(
            row
            for row in range(len(NAMES))
            if np.array_equal(pixels(row), example["images"])
        )
        assert ("labels" in example) == options["labels"]
        if options["labels"]:
            assert example["labels"] == LABELS[row]
        assert ("segmentation_masks" in example) == options["masks"]
        if options["masks"]:
            np.testing.assert_array_equal(
                example["segmentation_masks"][:, :, 0],
                expected_mask(row, options["mask_labels"]),
            )
