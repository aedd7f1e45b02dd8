"""The authors' published checkpoints, by name."""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import os
import pathlib
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import keras

URL = "https://dl.fbaipublicfiles.com/vicregl/"
LICENCE = (
    "The published VICRegL weights are licensed CC-BY-NC 4.0 by their authors: "
    "for non-commercial use, with attribution. This package does not "
    "redistribute them."
)
"""Under which licence the published weights are, in a sentence."""
_FULL = "_fullckpt"
_BLOCK = 2**20
_CHECKPOINT_STARTS = (b"PK", b"\x80")  # zip files; pickles of old


@dataclasses.dataclass(frozen=True)
class Published:
    """One pretraining run whose weights the authors published.

    Attributes:
        backbone: name for `keras_vicregl.backbone`.
        alpha: weight of the global criterion in that run.
        linear_top1: ImageNet linear top-1 accuracy, percent, as published.
        voc_miou: mean IoU, percent, of a linear head on the frozen backbone
            on Pascal VOC 2012, as published.
    """

    backbone: str
    alpha: float
    linear_top1: float
    voc_miou: float


PUBLISHED = {
    "resnet50_alpha0.9": Published("resnet50", 0.9, 71.2, 54.0),
    "resnet50_alpha0.75": Published("resnet50", 0.75, 70.4, 55.9),
    "convnext_small_alpha0.9": Published("convnext_small", 0.9, 75.9, 66.7),
    "convnext_small_alpha0.75": Published("convnext_small", 0.75, 74.6, 67.5),
    "convnext_base_alpha0.9": Published("convnext_base", 0.9, 77.1, 69.3),
    "convnext_base_alpha0.75": Published("convnext_base", 0.75, 76.3, 70.4),
    "convnext_xlarge_alpha0.75": Published("convnext_xlarge", 0.75, 79.4, 78.7),
}
"""The published weights by name, with network, alpha and published figures."""


def find_checkpoint(
    name_or_path: str | os.PathLike, *, full: bool = False
) -> pathlib.Path:
    """The file of a published name, downloaded if need be, or of a path.

    Args:
        name_or_path: a key of `PUBLISHED`, or a path to a `.pth` file.
        full: whether a name stands for the full checkpoint, with the
            expanders.

    Returns:
        Path of the file.

    Raises:
        FileNotFoundError: if it is neither.
        OSError: if the download fails.
        ValueError: if a downloaded file changed since it was first used.
    """
    if str(name_or_path) in PUBLISHED:
        return download_checkpoint(str(name_or_path), full=full)
    path = pathlib.Path(name_or_path)
    if not path.is_file():
        raise FileNotFoundError(
            f"{str(name_or_path)!r} is neither a file nor the name of a "
            f"published checkpoint: {', '.join(PUBLISHED)}."
        )
    return path


def download_checkpoint(
    name: str,
    *,
    full: bool = False,
    cache_dir: str | os.PathLike | None = None,
    url: str = URL,
) -> pathlib.Path:
    """Downloads a published checkpoint, once.

    Prints the licence, shows progress, and continues where an interrupted
    download stopped; one process at a time. The authors publish no checksums:
    the SHA-256 of the first complete download is kept beside the file, which is
    checked against it whenever it is used again.

    Args:
        name: a key of `PUBLISHED`.
        full: whether to download the full checkpoint, with the expanders.
        cache_dir: folder of the file. By default `vicregl` in Keras' cache
            folder (`KERAS_HOME`, or `~/.keras`).
        url: where the files are served.

    Returns:
        Path of the file.

    Raises:
        ValueError: if the name is unknown, or the file is not the one that was
            first downloaded.
        OSError: if the server cannot be reached, refuses, or stops early; what
            has arrived is kept for the next attempt.
    """
    if name not in PUBLISHED:
        raise ValueError(
            f"`name` must be one of {', '.join(PUBLISHED)}. "
            f"Received: name={name!r}"
        )
    filename = f"{name}{_FULL if full else ''}.pth"
    folder = pathlib.Path(cache_dir or _keras_home() / "vicregl")
    path = folder / filename
    recorded = path.with_name(filename + ".sha256")
    print(LICENCE)
    if path.exists():
        _check(path, recorded)
        return path
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(filename + ".part")
    _download(url + filename, partial)
    with partial.open("rb") as file:
        if not file.read(2).startswith(_CHECKPOINT_STARTS):
            partial.unlink()
            raise OSError(f"{url + filename}: the server sent no checkpoint.")
    _record(partial, recorded)
    partial.replace(path)
    return path


def _download(url: str, partial: pathlib.Path) -> None:
    """Appends to `partial` what is missing of the file at `url`."""
    start = partial.stat().st_size if partial.exists() else 0
    request = urllib.request.Request(url)
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response = urllib.request.urlopen(request, timeout=60)
    except urllib.error.HTTPError as error:
        complete = error.headers.get("Content-Range") == f"bytes */{start}"
        if error.code == 416 and complete:
            return
        if error.code == 416:
            partial.unlink()  # of another file than the server's
        raise OSError(f"{url}: the server says {error}.") from error
    except urllib.error.URLError as error:
        raise OSError(f"{url} cannot be reached: {error.reason}.") from error
    with response:
        # A server that knows no ranges sends the whole file again.
        sent = response.headers.get("Content-Range", "")
        if response.status != 206 or not sent.startswith(f"bytes {start}-"):
            start = 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        progress = keras.utils.Progbar(total, unit_name="byte")
        seen = start
        broken = False
        with partial.open("ab" if start else "wb") as file:
            try:
                for block in _blocks(response):
                    file.write(block)
                    seen += len(block)
                    progress.update(seen)
            except http.client.IncompleteRead as error:
                seen += file.write(error.partial)
                broken = True
    if broken or (total is not None and seen < total):
        raise OSError(
            f"{url}: the connection ended after {seen} of {total} bytes. Run "
            "again to continue."
        )


def _record(path: pathlib.Path, recorded: pathlib.Path) -> None:
    temporary = recorded.with_name(recorded.name + ".part")
    temporary.write_text(_sha256(path) + "\n")
    temporary.replace(recorded)


def _check(path: pathlib.Path, recorded: pathlib.Path) -> None:
    if not recorded.exists():
        _record(path, recorded)
        return
    expected, found = recorded.read_text().strip(), _sha256(path)
    if found != expected:
        raise ValueError(
            f"{path} is not the file that was first downloaded: its SHA-256 is "
            f"{found}, {recorded.name} says {expected}. Remove both to "
            "download it again."
        )


def _sha256(path: pathlib.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in _blocks(file):
            digest.update(block)
    return digest.hexdigest()


def _blocks(file: Any) -> Iterator[bytes]:
    """What is left of a file or response."""
    return iter(lambda: file.read(_BLOCK), b"")


def _keras_home() -> pathlib.Path:
    return pathlib.Path(
        os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras"
    )
