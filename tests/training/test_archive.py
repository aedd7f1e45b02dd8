"""Archives are complete and as written, or say that they are not."""

import json
import os
import zipfile

import numpy as np
import pytest

from keras_vicregl.storage import files
from keras_vicregl.training.saving.archive import (
    DamagedArchiveError,
    read_arrays,
    read_description,
    write_archive,
)

ARRAYS = {
    "model/0000/kernel": np.arange(12, dtype="float32").reshape(3, 4),
    "optimizer/0000/iteration": np.array(7),
    "model/0001/empty": np.zeros((0, 2), "int64"),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "archive.npz"
    write_archive(path, ARRAYS.items(), {"epoch": 3})
    return path


def contents(path):
    description = read_description(path)
    arrays = dict(read_arrays(path, description["arrays"]))
    return description, {
        name: (array.dtype.str, array.shape, array.tobytes())
        for name, array in arrays.items()
    }


def test_numpy_alone_reads_an_archive(path):
    with np.load(path) as file:
        assert json.loads(file["checkpoint.json"])["epoch"] == 3
        for name, array in ARRAYS.items():
            np.testing.assert_array_equal(file[name], array)
            assert file[name].dtype == array.dtype
    description, arrays = contents(path)
    assert description == {"epoch": 3, "arrays": list(ARRAYS)}
    assert list(arrays) == list(ARRAYS)


def test_equal_contents_are_equal_files(path, tmp_path):
    write_archive(tmp_path / "again.npz", ARRAYS.items(), {"epoch": 3})
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


def test_a_changed_byte_is_found_or_changes_nothing(path):
    sound, whole = path.read_bytes(), contents(path)
    found = 0
    for position in range(0, len(sound), 2):
        damaged = bytearray(sound)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            assert contents(path) == whole, position
        except DamagedArchiveError:
            found += 1
    # The rest are bytes without a meaning, such as dates.
    assert found > 0.7 * len(sound) / 2


def test_a_cut_file_is_found(path):
    sound = path.read_bytes()
    for length in range(0, len(sound), 31):
        path.write_bytes(sound[:length])
        with pytest.raises(DamagedArchiveError):
            contents(path)


def test_another_zip_is_no_archive(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some.txt", "text")
    with pytest.raises(DamagedArchiveError):
        read_description(path)


def test_an_error_leaves_the_older_file_and_nothing_else(path, tmp_path):
    older = path.read_bytes()

    def arrays():
        yield "first", np.ones(3)
        raise FloatingPointError("the second is not finite")

    with pytest.raises(FloatingPointError):
        write_archive(path, arrays(), {})
    assert path.read_bytes() == older
    assert os.listdir(tmp_path) == [path.name]


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    file = tmp_path / "file"
    file.write_text("a file, not a folder")
    with pytest.raises(OSError, match="Nothing can be written"):
        files.check_writable(file / "run")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0,
    reason="Root may write to read-only folders.",
)
def test_a_read_only_folder_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="Nothing can be written"):
        files.check_writable(tmp_path)


def test_too_little_room_is_an_error(tmp_path):
    files.check_writable(tmp_path, 1000)
    with pytest.raises(OSError, match=r"need 1,000,000,000\.0 GB.* are free"):
        files.check_writable(tmp_path, 10**18)
    assert not list(tmp_path.iterdir())
