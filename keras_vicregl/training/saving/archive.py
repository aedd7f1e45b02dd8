"""Archives of arrays and their description: an `.npz` with a JSON in it."""

from __future__ import annotations

import contextlib
import errno
import json
import pathlib
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from keras_vicregl.storage.files import replacing

_DESCRIPTION = "checkpoint.json"
# A fixed date, so that equal contents are equal files.
_DATE = (1980, 1, 1, 0, 0, 0)


class DamagedArchiveError(ValueError):
    """An archive is not as it was written."""


def write_archive(
    path: pathlib.Path,
    arrays: Iterable[tuple[str, np.ndarray]],
    description: dict[str, Any],
) -> dict[str, Any]:
    """Writes arrays one by one, so that no second copy of them is in memory.

    Args:
        path: replaced when the archive is complete.
        arrays: names and arrays of NumPy's own dtypes.
        description: what JSON can hold. The names of the arrays are added
            under `"arrays"`; it is read when the arrays are written.

    Returns:
        The whole description.

    Raises:
        OSError: if it cannot be written. An older file stays.
    """
    names = []
    with (
        replacing(path) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
    ):
        for name, array in arrays:
            member = zipfile.ZipInfo(f"{name}.npy", _DATE)
            with archive.open(member, "w", force_zip64=True) as stream:
                np.lib.format.write_array(
                    stream, np.asarray(array), allow_pickle=False
                )
            names.append(name)
        description = {**description, "arrays": names}
        text = json.dumps(description, indent=1)
        archive.writestr(zipfile.ZipInfo(_DESCRIPTION, _DATE), text)
    return description


def read_description(path: pathlib.Path) -> dict[str, Any]:
    """The description of an archive, all of whose checksums are compared.

    Raises:
        DamagedArchiveError: if the file is not as it was written.
        OSError: if it cannot be read.
    """
    with _checked(path) as archive:
        damaged = archive.testzip()
        if damaged is not None:
            raise DamagedArchiveError(f"{path}: wrong checksum of {damaged}.")
        description = json.loads(archive.read(_DESCRIPTION))
        expected = [f"{name}.npy" for name in description["arrays"]]
        if archive.namelist() != [*expected, _DESCRIPTION]:
            raise DamagedArchiveError(f"{path}: arrays are missing.")
    return description


def read_arrays(
    path: pathlib.Path, names: Iterable[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Some of the arrays, read one by one.

    Raises:
        DamagedArchiveError: if the file is not as it was written.
        OSError: if it cannot be read.
    """
    with _checked(path) as archive:
        for name in names:
            with archive.open(f"{name}.npy") as stream:
                array = np.lib.format.read_array(stream, allow_pickle=False)
                # The checksum is compared where the member ends.
                if stream.read(1):
                    raise DamagedArchiveError(f"{path}: {name} is too long.")
            yield name, array


# What zipfile, NumPy and json raise, depending on where the damage is.
_SIGNS_OF_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    IndexError,
    KeyError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


@contextlib.contextmanager
def _checked(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DamagedArchiveError:
        raise
    except _SIGNS_OF_DAMAGE as error:
        raise DamagedArchiveError(f"{path}: {error}") from error
    except OSError as error:
        # A place outside the file, or one that the disk has lost.
        if error.errno not in (errno.EINVAL, errno.EIO):
            raise
        raise DamagedArchiveError(f"{path}: {error}") from error
