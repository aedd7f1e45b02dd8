"""Rows are the images' names and what the backbone says of them."""

import os
import types

import keras
import numpy as np
import pytest

from keras_vicregl import backbone
from keras_vicregl.commands import embed
from keras_vicregl.commands.main import main
from keras_vicregl.evaluation.features.extraction import normalize_images
from keras_vicregl.evaluation.progress import Progress

SIZES = [(40, 32), (32, 32), (32, 40)]
COUNT = 11


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """PNG files of three sizes in two folders, and one that is no image."""
    image_module = pytest.importorskip("PIL.Image")
    root = tmp_path_factory.mktemp("embed")
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        place = root / "images" / f"part{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        shape = (*SIZES[number % 3], 3)
        pixels = rng.integers(0, 256, shape, "uint8")
        image_module.fromarray(pixels).save(place / f"{number:02}.png")
    keras.utils.set_random_seed(0)
    model = backbone("small_resnet", widths=(4, 4, 4, 8))
    model.save(root / "backbone.keras")
    return root


def run(folder, output, *options):
    return main(
        [
            *("embed", str(folder / "backbone.keras"), str(folder / "images")),
            *("--output", str(output), "--batch-size", "2", *options),
        ]
    )


def expected(folder, names):
    image_module = pytest.importorskip("PIL.Image")
    model = keras.saving.load_model(folder / "backbone.keras")
    rows = []
    for name in names:
        pixels = np.asarray(image_module.open(folder / "images" / name))
        maps = model(normalize_images(pixels[None]), training=False)
        rows.append(keras.ops.convert_to_numpy(maps)[0].mean((0, 1)))
    return np.array(rows)


def read(path):
    with np.load(path) as file:
        return file["names"].tolist(), file["features"]


def test_a_row_an_image_of_any_size(folder, tmp_path, capsys):
    assert run(folder, tmp_path / "f.npz") == 0
    names, features = read(tmp_path / "f.npz")
    assert names == sorted(names)
    assert {name.split("/")[1] for name in names} == {
        f"{number:02}.png" for number in range(COUNT)
    }
    # Float32 sums in batches of another size.
    np.testing.assert_allclose(
        features, expected(folder, names), rtol=1e-4, atol=1e-5
    )
    said = capsys.readouterr()
    assert f"{COUNT} images" in said.out
    assert f"{COUNT}/{COUNT} images" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["f.npz"]


def test_stopped_it_goes_on_and_other_settings_are_refused(
    folder, tmp_path, monkeypatch, capsys
):
    assert run(folder, tmp_path / "whole.npz") == 0
    monkeypatch.setattr(embed, "_PART", 4)
    add = embed.Parts.add

    def stop_at_8(self, done, *rest):
        add(self, done, *rest)
        if done == 8:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(embed.Parts, "add", stop_at_8)
        with pytest.raises(SystemExit) as end:
            run(folder, tmp_path / "f.npz")
    assert end.value.code == 130
    assert not (tmp_path / "f.npz").exists()
    with pytest.raises(SystemExit) as end:
        run(folder, tmp_path / "f.npz", "--size", "32")
    assert end.value.code == 2
    assert "was begun with another size" in capsys.readouterr().err
    assert run(folder, tmp_path / "f.npz") == 0
    assert "8 images are done already" in capsys.readouterr().err
    (names, features), (all_names, all_features) = (
        read(tmp_path / name) for name in ("f.npz", "whole.npz")
    )
    assert names == all_names
    np.testing.assert_allclose(features, all_features, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_what_compiles_each_size_says_so_once(backend, monkeypatch, capsys):
    monkeypatch.setattr(keras.config, "backend", lambda: backend)
    arguments = types.SimpleNamespace(
        batch_size=2, maps=False, preprocessed=False
    )
    embedding = embed._Embedding(None, arguments)
    progress = Progress(40)
    for side in [*range(20), *range(20)]:
        embedding.note_size((side, 8, 3), progress)
    told = capsys.readouterr().err.count("8 sizes of images so far: JAX")
    assert told == (backend == "jax")


def test_maps_need_one_size(folder, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        run(folder, tmp_path / "f.npz", "--maps")
    assert end.value.code == 2
    assert "give --size" in capsys.readouterr().err
    assert run(folder, tmp_path / "g.npz", "--maps", "--size", "32") == 0
    assert read(tmp_path / "g.npz")[1].shape == (COUNT, 4, 4, 8)


@pytest.mark.filterwarnings("default")
def test_what_cannot_be_read_is_left_out_by_name(folder, tmp_path, capsys):
    bad = folder / "images" / "part0" / "zz.png"
    bad.write_bytes((folder / "images/part0/00.png").read_bytes()[:200])
    try:
        assert run(folder, tmp_path / "f.npz") == 0
    finally:
        bad.unlink()
    said = capsys.readouterr()
    assert said.out.endswith(f"f.npz: {COUNT} images\n")
    # In the words of pretrain and evaluate.
    assert (
        f"warning: 1 of {COUNT + 1} images of {folder / 'images'} could not be "
        f"read and are skipped: {bad} (a damaged PNG file"
    ) in said.err
    assert len(read(tmp_path / "f.npz")[0]) == COUNT


def test_images_that_were_mended_are_read(folder, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    for name in ("a.png", "b.png"):
        (images / name).write_bytes(b"none")
    command = [
        *("embed", str(folder / "backbone.keras"), str(images)),
        *("--output", str(tmp_path / "f.npz")),
    ]
    with pytest.raises(SystemExit):
        main(command)
    assert "None of the 2 images" in capsys.readouterr().err
    for name in ("a.png", "b.png"):
        whole = folder / "images" / "part0" / "00.png"
        (images / name).write_bytes(whole.read_bytes())
    assert main(command) == 0
    assert read(tmp_path / "f.npz")[0] == ["a.png", "b.png"]


@pytest.mark.filterwarnings("default")
def test_of_what_is_done_some_could_not_be_read(
    folder, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(embed, "_PART", 2)
    bad = folder / "images" / "part0" / "0.png"  # the first
    bad.write_bytes(b"none")
    try:
        add = embed.Parts.add

        def stop(self, done, *rest):
            add(self, done, *rest)
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(embed.Parts, "add", stop)
            with pytest.raises(SystemExit):
                run(folder, tmp_path / "f.npz")
        capsys.readouterr()
        assert run(folder, tmp_path / "f.npz") == 0
    finally:
        bad.unlink()
    said = capsys.readouterr().err
    assert "2 images are done already, of which 1 could not be read" in said
    assert f"remove {tmp_path / 'f.npz.parts'} to begin anew." in said


def test_pages_and_names_that_are_no_text(folder, tmp_path):
    tifffile = pytest.importorskip("tifffile")
    images = tmp_path / "images"
    images.mkdir()
    name = os.fsdecode(b"caf\xe9.tif")
    pages = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), "uint8")
    try:
        tifffile.imwrite(images / name, pages, photometric="rgb")
    except OSError:
        pytest.skip("this system's names of files are text")
    command = [
        *("embed", str(folder / "backbone.keras"), str(images)),
        *("--output", str(tmp_path / "f.npz")),
        *("--data-options", "pages=examples"),
    ]
    assert main(command) == 0
    names, features = read(tmp_path / "f.npz")
    assert names == [f"{name}#0", f"{name}#1"]
    model = keras.saving.load_model(folder / "backbone.keras")
    maps = model(normalize_images(pages), training=False)
    expected = keras.ops.convert_to_numpy(maps).mean((1, 2))
    # As in the other tests of this command.
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(SystemExit) as end:
        main([*command[:-1], "page=examples"])
    assert end.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("nowhere.keras", "images", "f.npz"), 2, "no file 'nowhere.keras'"),
        (("backbone.keras", "nowhere", "f.npz"), 2, "no folder 'nowhere'"),
        (("backbone.keras", "images", "f.csv"), 2, ".npz or .parquet"),
    ],
)
def test_bad_input(folder, arguments, code, told, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    model, images, output = arguments
    with pytest.raises(SystemExit) as end:
        main(["embed", model, images, "--output", output])
    assert end.value.code == code
    said = capsys.readouterr().err
    assert told in said
    assert "Traceback" not in said
    assert not (folder / output).exists()


def test_raw_images_of_a_backbone_that_knows_no_range(tmp_path, capsys):
    keras.utils.set_random_seed(0)
    model = backbone(
        "small_resnet", widths=(4, 4, 4, 8), input_shape=(None, None, 1)
    )
    model.save(tmp_path / "backbone.keras")
    rng = np.random.default_rng(0)
    images = rng.integers(0, 4096, (3, 32, 32, 1)).astype("uint16")
    (tmp_path / "images").mkdir()
    for number, image in enumerate(images):
        np.save(tmp_path / "images" / f"{number}.npy", image)
    pixels = images / 4095
    given = ["--value-range", "0", "4095"]
    mean, std = ["--mean", "0.5"], ["--std", "0.25"]
    for options, normalized in (
        (given, (pixels - pixels.mean()) / pixels.std()),
        (given + mean + std, (pixels - 0.5) / 0.25),
    ):
        assert run(tmp_path, tmp_path / "f.npz", *options) == 0
        maps = model(normalized.astype("float32"), training=False)
        expected = keras.ops.convert_to_numpy(maps).mean((1, 2))
        # Float32 in other batches.
        np.testing.assert_allclose(
            read(tmp_path / "f.npz")[1], expected, rtol=1e-4, atol=1e-5
        )
        found = "0 to 4,095 become 0 to 1" in capsys.readouterr().err
        assert found == (options is given)
