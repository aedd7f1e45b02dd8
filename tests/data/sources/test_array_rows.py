"""Arrays are read row by row, not copied."""

import pathlib
import tracemalloc

import forked
import numpy as np
import pytest

tf = pytest.importorskip("tensorflow")

from keras_vicregl.data import as_dataset, labels_of, load, subset  # noqa: E402
from keras_vicregl.data.sources import array_rows  # noqa: E402

COUNT = 12
ARRAYS = {
    "images": np.random.default_rng(0).integers(
        0, 256, (COUNT, 6, 8, 3), dtype=np.uint8
    ),
    "labels": np.arange(COUNT, dtype=np.int32),
    "segmentation_masks": np.random.default_rng(1).integers(
        0, 4, (COUNT, 6, 8, 1), dtype=np.uint8
    ),
}


@pytest.mark.parametrize(
    "some",
    [
        lambda array: np.moveaxis(array, 1, -1),
        lambda array: array.transpose(3, 1, 2, 0),
        lambda array: array[..., ::2],
        lambda array: array[:, :, :, :1],
    ],
    ids=["channels first", "Fortran", "strided", "cut"],
)
def test_a_row_costs_a_row(some):
    """Whatever lies where: `np.take` copies such arrays first."""
    array = some(np.arange(40 * 4 * 30 * 40).reshape(40, 4, 30, 40))
    tracemalloc.start()
    row, rows = array_rows.take(array, 3), array_rows.take(array, [5, 2])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(row, array[3])
    np.testing.assert_array_equal(rows, array[[5, 2]])
    assert row.flags.c_contiguous
    assert not np.shares_memory(row, array)
    # The three rows, one of the two twice, and Python's own objects.
    assert peak < 5 * row.nbytes + 10_000


@pytest.fixture(params=[0, 2**20], ids=["read", "constants"])
def limit(request, monkeypatch):
    """Bytes up to which an array is small."""
    monkeypatch.setattr(array_rows, "_SMALL", request.param)


@pytest.mark.usefixtures("limit")
class TestRows:
    def assert_are(self, dataset, rows):
        assert dataset.cardinality() == len(rows)
        for key, spec in dataset.element_spec.items():
            assert spec == tf.TensorSpec(ARRAYS[key].shape[1:], spec.dtype)
        found = list(dataset.as_numpy_iterator())
        for example, row in zip(found, rows, strict=True):
            assert example.keys() == ARRAYS.keys()
            for key, value in example.items():
                assert value.dtype == ARRAYS[key].dtype
                np.testing.assert_array_equal(value, ARRAYS[key][row])

    def test_are_those_of_the_arrays(self):
        self.assert_are(as_dataset(ARRAYS), range(COUNT))
        source = load(ARRAYS)
        self.assert_are(source.dataset(), range(COUNT))
        shuffled = [int(e["labels"]) for e in source.dataset(order_seed=3)]
        assert sorted(shuffled) == list(range(COUNT))
        self.assert_are(source.dataset(order_seed=3), shuffled)

    @pytest.mark.parametrize(
        "rows", [[5], [3, 4, 5], [0, 4, 8], [0, 1, 7, 11]], ids=str
    )
    def test_of_a_subset(self, rows):
        some = subset(load(ARRAYS), np.array(rows))
        self.assert_are(some.dataset(), rows)
        assert labels_of(some).tolist() == rows
        fewer = subset(some, np.array([len(rows) - 1]))
        self.assert_are(fewer.dataset(), rows[-1:])


# Bytes that a process holds more after a few batches of a large array, of one
# in a file and of one in memory.
PROGRAM = """
import sys
import numpy as np
from keras_vicregl.data import load, subset, view_batches
from keras_vicregl.views import MultiView

def take_batches(source):
    views = MultiView.scenes(size=16)
    batches = view_batches(source, views, batch_size=4, seed=0).take(2)
    assert [x["views"][0].shape for x, in batches] == [(4, 16, 16, 3)] * 2

def held():
    # What is mapped of files is not.
    with open("/proc/self/status") as status:
        lines = dict(line.split(":", 1) for line in status)
    return int(lines["RssAnon"].split()[0]) * 1024

shape = (1024, 256, 256, 3)
take_batches({"images": np.zeros((8, 256, 256, 3), "uint8")})
for images in (
    np.lib.format.open_memmap(sys.argv[1], "w+", "uint8", shape),
    np.ones(shape, "uint8"),
):
    before = held()
    take_batches({"images": images})
    rows = np.array([0, 1, 5, *range(9, len(images))])
    take_batches(subset(load(images), rows))
    print(held() - before)
"""


@pytest.mark.skipif(
    not pathlib.Path("/proc/self/status").exists(), reason="asks Linux"
)
def test_batches_hold_no_copy(tmp_path):
    done = forked.run(["-c", PROGRAM, tmp_path / "images.npy"])
    assert done.returncode == 0, done.stderr
    # A copy has 200 MB.
    assert max(map(float, done.stdout.split())) < 100e6
