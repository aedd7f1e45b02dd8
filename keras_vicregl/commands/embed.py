"""Features of the images of a folder: a row an image, with its name.

    keras-vicregl embed runs/mine photographs/ --output features.npz
    keras-vicregl embed backbone.keras photographs/ --output features.parquet

MODEL is a .keras, .onnx file or SavedModel, or the folder of a run. Features
are pooled, one vector an image, or with --maps the whole feature maps. A .npz
file has "names" and "features"; a .parquet file these columns (needs pyarrow).

Of a TIFF file whose pages are images (--data-options pages=examples) a name
ends in # and the number of the page, from 0 on.

Images stay as they are, those of one size in one call of the model; with --size
a square of that side is cut out of the middle of each. Stopped, it goes on
where it was: what is done is in PATH.parts until the end.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_vicregl.commands.given.models import any_model_file, load_any
from keras_vicregl.commands.given.options import (
    add_settings,
    as_usage,
    check_names,
)
from keras_vicregl.commands.given.outputs import check_output, written
from keras_vicregl.commands.given.values import (
    add_value_options,
    as_taken,
    tell_backbone,
)
from keras_vicregl.commands.problems import UsageError
from keras_vicregl.commands.starting import BACKENDS, start

if TYPE_CHECKING:
    from keras_vicregl.data.streams.unreadable import Reason
    from keras_vicregl.evaluation.progress import Progress

USAGE = "%(prog)s MODEL FOLDER --output PATH [options]"
SUMMARY = "pooled features of a folder's images, or maps, with names"

_SETTINGS = "settings.json"
_PART = 1024  # images in a part
_DATA_OPTIONS = ("channels", "no_data", "pages", "time_limit")
_SIZES = 8  # of images, from which on it is told what they cost


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those of this command."""
    add = parser.add_argument
    add("model", metavar="MODEL")
    add("folder", metavar="FOLDER", help="of images, in folders or not")
    add("--output", type=pathlib.Path, required=True, metavar="PATH")
    add("--split", help="folder in FOLDER, or several as train+val")
    text = "of load(): pages=examples channels=3 no_data=0"
    add_settings(add, "--data-options", text, default=[])
    add("--size", type=int, help="side of the square cut out of each image")
    add("--resize", type=int, help="shorter side before that")
    add("--maps", action="store_true", help="whole feature maps")
    add("--batch-size", type=int, default=64)
    add(
        "--preprocessed",
        action="store_true",
        help="the model normalises images itself",
    )
    add_value_options(parser)
    add("--backend", choices=BACKENDS)


def run(arguments: argparse.Namespace) -> None:
    """Reads, computes and writes."""
    output = arguments.output
    if output.suffix not in (".npz", ".parquet"):
        raise UsageError(
            f"--output must end in .npz or .parquet; received {str(output)!r}."
        )
    if arguments.batch_size < 1:
        raise UsageError("--batch-size must be 1 or more.")
    model_path = any_model_file(arguments.model)
    if not pathlib.Path(arguments.folder).expanduser().is_dir():
        raise UsageError(f"there is no folder {arguments.folder!r}.")
    start(arguments.backend)
    if output.suffix == ".parquet":
        _check_parquet()
    from keras_vicregl.data import load
    from keras_vicregl.data.streams.unreadable import Unreadable
    from keras_vicregl.evaluation.features.middles import middle
    from keras_vicregl.evaluation.progress import Progress

    with as_usage("--size and --resize"):
        cut = middle(arguments.size, arguments.resize)
    options = dict(arguments.data_options)
    check_names("--data-options", options, _DATA_OPTIONS)
    with as_usage("images"):
        source = load(
            arguments.folder,
            arguments.split,
            labels=False,
            on_error="skip",
            **options,
        )
    check_output(output, "features")
    names = _names(source, pathlib.Path(arguments.folder).expanduser())
    model = load_any(model_path, arguments.preprocessed)
    source = as_taken(model, source)
    if values := tell_backbone(model, source, arguments):
        print(values, file=sys.stderr)
    parts = Parts(
        output.with_name(output.name + ".parts"),
        {
            "model": _digest_of_file(model_path),
            # Names of files need not be text.
            "names": hashlib.sha256(os.fsencode("\0".join(names))).hexdigest(),
            "size": arguments.size,
            "resize": arguments.resize,
            "maps": arguments.maps,
            "preprocessed": arguments.preprocessed,
            **({"data_options": options} if options else {}),
            **_values_of(arguments),
        },
    )
    if parts.done:
        are = "image is" if parts.done == 1 else "images are"
        lost = len(parts.unreadable())
        print(
            f"{parts.done} {are} done already"
            + f", of which {lost} could not be read: remove {parts.folder} to "
            "begin anew" * bool(lost) + ".",
            file=sys.stderr,
        )
    progress = Progress(len(names), done=parts.done, patience=0)
    embed = _Embedding(model, arguments)
    with _told_where_it_is(parts, len(names), progress):
        _fill(parts, source, names, cut, embed, progress)
    progress.end()
    unreadable = Unreadable(source.name, len(names), "skip")
    for index, reason in parts.unreadable().items():
        unreadable.add(index, reason)
    if next(parts.read(), None) is None:
        parts.remove()  # the images may be mended
    unreadable.none_at_all()
    unreadable.tell()
    with written(output, "features"):
        count = parts.write(output, _write_parquet)
    print(f"{output}: {count} image{'' if count == 1 else 's'}")


@contextlib.contextmanager
def _told_where_it_is(
    parts: Parts, count: int, progress: Progress
) -> Iterator[None]:
    """Says after Ctrl-C what there is; removes what is of no use."""
    try:
        yield
    except BaseException as error:
        progress.end()
        if not parts.done:
            parts.remove()
        elif isinstance(error, KeyboardInterrupt):
            progress.say(
                f"{parts.done} of {count} images are done. The same command "
                "goes on from there."
            )
        raise


def _fill(
    parts: Parts,
    source: Any,
    names: list[str],
    cut: Any,
    embed: _Embedding,
    progress: Progress,
) -> None:
    """Makes the parts that are not there."""
    for first in range(parts.done, len(names), _PART):
        indices = range(first, min(first + _PART, len(names)))
        kept, features = [], []
        reasons: dict[int, Reason] = {}
        for index, vector in _embedded(
            source, indices, cut, embed, progress, reasons
        ):
            kept.append(names[index])
            features.append(vector)
        with written(parts.folder, "features"):
            parts.add(indices.stop, kept, features, reasons)


def _embedded(
    source: Any,
    indices: range,
    cut: Any,
    embed: _Embedding,
    progress: Progress,
    reasons: dict[int, Reason],
) -> Iterator[tuple[int, np.ndarray]]:
    """Numbers of images that can be read, and their features, in order.

    Of the others, the reason comes into `reasons`.
    """
    from keras_vicregl.data.streams.ahead import in_order

    def read(index: int) -> np.ndarray:
        example = {"images": source.example(index)["images"]}
        return (example if cut is None else cut.of_array(example))["images"]

    held: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
    found: dict[int, np.ndarray] = {}
    for index, image, error in in_order(read, indices):
        if error is not None:
            reasons[index] = source._reason(index, error)
            continue
        held.setdefault(image.shape, []).append((index, image))
        embed.note_size(image.shape, progress)
        largest = max(held.values(), key=len)
        waiting = sum(map(len, held.values()))
        if len(largest) == embed.batch_size or waiting == embed.most_waiting:
            found |= embed(held.pop(largest[0][1].shape))
            progress.advance(indices.start + len(found))
    for alike in held.values():
        found |= embed(alike)
    progress.advance(indices.stop)
    return iter(sorted(found.items()))


def _values_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """What was said of values, by name."""
    names = ("value_range", "mean", "std")
    given = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


class _Embedding:
    """Features of images of one size."""

    def __init__(self, model: Any, arguments: argparse.Namespace) -> None:
        self._model = model
        self.batch_size = arguments.batch_size
        # Images of many sizes wait for others like them, but not all in memory.
        self.most_waiting = 4 * arguments.batch_size
        self._settings: dict[str, Any] = {
            "pooled": not arguments.maps,
            "batch_size": arguments.batch_size,
        }
        if arguments.preprocessed:
            self._settings["preprocess"] = None
        self._whole_batches: set[tuple[int, ...]] = set()
        self._sizes: set[tuple[int, ...]] = set()

    def note_size(self, shape: tuple[int, ...], progress: Progress) -> None:
        """Says once where images are of sizes that take longer than they do."""
        from keras import config

        before = len(self._sizes)
        self._sizes.add(shape)
        if config.backend() == "jax" and before < _SIZES == len(self._sizes):
            progress.say(
                f"{_SIZES} sizes of images so far: JAX compiles a program for "
                "each, which --size N does without."
            )

    def __call__(
        self, held: list[tuple[int, np.ndarray]]
    ) -> dict[int, np.ndarray]:
        from keras_vicregl.evaluation import extract_features

        indices, images = zip(*held, strict=True)
        missing = self.batch_size - len(images)
        if not missing:
            self._whole_batches.add(images[0].shape)
        elif images[0].shape in self._whole_batches:
            # The program of whole batches is there.
            images += images[-1:] * missing
        features = extract_features(
            self._model, {"images": np.stack(images)}, **self._settings
        )["features"]
        return dict(zip(indices, features, strict=False))


class Parts:
    """What is done so far, in files of a folder beside the result.

    Args:
        folder: made where there is none.
        settings: what the features depend on.

    Attributes:
        folder: of the files.
        done: images that are done.

    Raises:
        UsageError: if the folder has parts of other settings.
    """

    def __init__(self, folder: pathlib.Path, settings: dict[str, Any]) -> None:
        from keras_vicregl.storage.files import remove_partial, write_text

        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        remove_partial(folder)
        path = folder / _SETTINGS
        self.done = max((int(p.stem) for p in self._paths()), default=0)
        if self.done and json.loads(path.read_text()) != settings:
            begun = json.loads(path.read_text())
            names = {**settings, **begun}
            changed = [k for k in names if settings.get(k) != begun.get(k)]
            raise UsageError(
                f"{folder} was begun with another {' and '.join(changed)}. "
                "Remove it to begin anew, or give another --output."
            )
        write_text(path, json.dumps(settings))
        _, first = next(self.read(), (None, None))
        self._shape = None if first is None else first.shape[1:]

    def _paths(self) -> list[pathlib.Path]:
        return sorted(self.folder.glob("*.npz"), key=lambda p: int(p.stem))

    def add(
        self,
        done: int,
        names: list[str],
        features: list[Any],
        reasons: dict[int, Reason],
    ) -> None:
        """Keeps the features of images up to a number.

        Args:
            done: that number.
            names: of those that could be read.
            features: of these.
            reasons: by number, why the others could not.
        """
        from keras_vicregl.storage.files import replacing

        for each in features:
            self._shape = self._shape or each.shape
            if each.shape != self._shape:
                raise UsageError(
                    "feature maps differ in size, as images do: give --size, "
                    "or leave out --maps."
                )
        with replacing(self.folder / f"{done}.npz") as file:
            np.savez(
                file,
                names=np.array(names, np.str_),
                features=np.array(features, np.float32),
                unreadable=np.array(list(reasons), int),
                unreadable_names=np.array(
                    [reason.name for reason in reasons.values()], np.str_
                ),
                reasons=np.array(
                    [reason.why for reason in reasons.values()], np.str_
                ),
            )
        self.done = done

    def unreadable(self) -> dict[int, Reason]:
        """Why images could not be read, by their numbers."""
        from keras_vicregl.data.streams.unreadable import Reason

        found: dict[int, Reason] = {}
        for path in self._paths():
            with np.load(path, allow_pickle=False) as part:
                if "reasons" in part:  # not in those of earlier versions
                    numbers, names, reasons = (
                        part[key].tolist()
                        for key in ("unreadable", "unreadable_names", "reasons")
                    )
                    made = map(Reason, names, reasons)
                    found |= zip(numbers, made, strict=True)
        return found

    def read(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Names and features of each part that has any, in order."""
        for path in self._paths():
            with np.load(path, allow_pickle=False) as part:
                if len(part["names"]):
                    yield part["names"], part["features"]

    def write(self, output: pathlib.Path, write_parquet: Any) -> int:
        """Puts the parts together, and removes them; the number of rows."""
        from keras_vicregl.storage.files import replacing

        with replacing(output) as file:
            if output.suffix == ".parquet":
                count = write_parquet(file, self.read())
            else:
                names, features = zip(*self.read(), strict=True)
                names = np.concatenate(names)
                np.savez(file, names=names, features=np.concatenate(features))
                count = len(names)
        self.remove()
        return count

    def remove(self) -> None:
        """Removes the folder."""
        shutil.rmtree(self.folder)


def _check_parquet() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            ".parquet needs pyarrow: pip install pyarrow, or write .npz."
        ) from error


def _write_parquet(
    file: Any, parts: Iterator[tuple[np.ndarray, np.ndarray]]
) -> int:
    import pyarrow
    import pyarrow.parquet

    from keras_vicregl.data.decoding.formats import readable

    writer: Any = None
    count = 0
    for names, features in parts:
        flat = features.reshape(len(features), -1)
        values = pyarrow.FixedSizeListArray.from_arrays(
            pyarrow.array(flat.ravel()), flat.shape[1]
        )
        table = pyarrow.table(
            {"name": [*map(readable, names.tolist())], "features": values}
        )
        writer = writer or pyarrow.parquet.ParquetWriter(file, table.schema)
        writer.write_table(table)
        count += len(names)
    writer.close()
    return count


def _names(source: Any, folder: pathlib.Path) -> list[str]:
    """Paths below the folder, with `/` on every system, and `#` and a page."""
    names = [
        pathlib.PurePath(os.path.relpath(path, folder)).as_posix()
        for path in source._paths
    ]
    pages = getattr(source, "_numbers", None)
    if pages is None:
        return names
    return [f"{name}#{page}" for name, page in zip(names, pages, strict=True)]


def _digest_of_file(path: pathlib.Path) -> str:
    files = [path] if path.is_file() else sorted(path.rglob("*"))
    digest = hashlib.sha256()
    for each in files:
        if each.is_file():
            digest.update(each.read_bytes())
    return digest.hexdigest()
