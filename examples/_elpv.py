"""Solar cells as the study of them reads them, and how they are split."""

import importlib.util
import pathlib

CLASSES = ("functional", "defective")
SPLITS = ("train", "val", "test")
# Files are in the order of modules, with modules of one kind beside each other.
# There are 44 modules, 18 of them monocrystalline (Deitsch et al., 2019), and
# that is what these runs of one kind have where a module has 60 cells, or a
# few less. Kind, cells, modules:
RUNS = (
    ("mono", 60, 1),
    ("poly", 300, 5),
    ("mono", 180, 3),
    ("poly", 360, 6),
    ("mono", 714, 12),
    ("poly", 530, 9),
    ("mono", 72, 1),
    ("poly", 180, 3),
    ("mono", 48, 1),
    ("poly", 180, 3),
)
CELLS = 60  # of a module; runs of a single one are never parted


def split_of_cells():
    """The split of each of the 2,624 cells, None of those between two.

    Of each run the last quarter of the modules is for the test, and a sixth
    before them for validation, rounded to whole modules. Where a run lacks some
    cells nobody knows of which modules, and so not exactly where a module ends:
    cells that may be on either side of a border are in no split.
    """
    splits = []
    for _, cells, modules in RUNS:
        missing = max(0, CELLS * modules - cells) if modules > 1 else 0
        test, val = round(modules / 4), round(modules / 6)
        run = ["train"] * cells
        for name, last in (("val", test + val), ("test", test)):
            border = CELLS * (modules - last)
            if last:
                run[border:] = [name] * (cells - border)
                run[border - missing : border] = [None] * missing
        splits += run
    return splits


def read_cells():
    """All cells of the package `elpv-dataset`.

    Returns:
        Dictionary of arrays: `"images"` (2624, 300, 300, 1) uint8; `"labels"`,
        1 where the probability of a defect is above a half; `"is_poly"`; and
        `"split"`, names, "" of cells in none.

    Raises:
        ImportError: if the package is not installed.
        ValueError: if its cells are not those that the split is made for.
    """
    import numpy as np

    from keras_vicregl.data import load

    spec = importlib.util.find_spec("elpv_dataset")
    if spec is None:
        raise ImportError(
            "The pictures of solar cells are not installed here: pip install "
            "elpv-dataset (CC-BY-NC-SA 4.0)."
        )
    folder = pathlib.Path(spec.origin).parent / "data"
    rows = [row.split() for row in (folder / "labels.csv").open()]
    names, probabilities, kinds = zip(*rows, strict=True)
    expected = [kind for kind, cells, _ in RUNS for _ in range(cells)]
    if list(kinds) != expected or list(names) != sorted(names):
        raise ValueError(
            f"{folder} has other cells, or the same in another order, than "
            "the split by modules is made for."
        )
    source = load([folder / name for name in names], channels=1)
    return {
        "images": np.stack([each["images"] for each in source.examples()]),
        "labels": (np.array(probabilities, float) > 0.5).astype("int32"),
        "is_poly": np.array(kinds) == "poly",
        "split": np.array([split or "" for split in split_of_cells()]),
    }


def stand_in(count=96, side=64, seed=0):
    """Pictures made from a formula, in the form of `read_cells`.

    Bright cells with two busbars; every third has a dark crack. For tests, and
    for pictures on pages: those of real cells must not be copied there.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    images, labels = [], np.arange(count) % 3 == 0
    for is_defective in labels:
        cell = 170 + 25 * np.cos(2 * np.pi * (x - 0.5)) * rng.uniform(0.2, 1)
        grains = rng.normal(0, 12, (8, 8))
        cell += grains[(8 * y).astype(int), (8 * x).astype(int)]
        for busbar in (0.3, 0.7):
            cell[np.abs(x - busbar) < 0.02] -= 70
        if is_defective:
            slope, at = rng.uniform(-1, 1), rng.uniform(0.3, 0.7)
            cell[np.abs(y - at - slope * (x - 0.5)) < 0.02] -= 110
        images.append(cell + rng.normal(0, 5, cell.shape))
    modules = np.arange(count) * 8 // count
    return {
        "images": np.clip(images, 0, 255).astype("uint8")[..., None],
        "labels": labels.astype("int32"),
        "is_poly": modules % 2 == 1,
        "split": np.array(["train"] * 4 + ["val"] * 2 + ["test"] * 2)[modules],
    }


def part(cells, *splits):
    """Images and labels of the cells of some splits."""
    import numpy as np

    chosen = np.isin(cells["split"], splits)
    return {name: cells[name][chosen] for name in ("images", "labels")}


def even(cells):
    """As many functional cells as defective ones, evenly spread.

    Of these accuracy is balanced accuracy, and that of chance 50 %.
    """
    import numpy as np

    rows = [np.flatnonzero(cells["labels"] == label) for label in (0, 1)]
    count = min(map(len, rows))
    chosen = [each[np.arange(count) * len(each) // count] for each in rows]
    chosen = np.sort(np.concatenate(chosen))
    return {name: values[chosen] for name, values in cells.items()}
