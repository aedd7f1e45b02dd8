"""What is wrong with a mask is told of the mask, by either engine."""

import numpy as np
import pytest
from image_files import encoded, picture
from PIL import Image

from keras_vicregl.data import load

COUNT = 3
GOOD = np.ones((20, 30), np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Photographs, and masks for all of them."""
    for number in range(COUNT):
        for name, data in (
            (f"images/{number}.jpg", encoded(picture(20, 30, number), "JPEG")),
            (f"masks/{number}.png", encoded(GOOD)),
        ):
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    return tmp_path


def read(source, engine):
    """All examples, by one of the engines."""
    if engine == "tensorflow":
        return list(source.dataset().as_numpy_iterator())
    return list(source.examples_in_python())


BAD = {
    "colours": (encoded(picture(20, 30)), "one channel or a palette"),
    "size": (encoded(np.ones((5, 6), np.uint8)), "5 x 6 pixels, its image 20"),
    "kind": (encoded(GOOD, "JPEG"), "must be a PNG file"),
    "damaged": (encoded(GOOD)[:60], "a damaged PNG file"),
    "wide": (
        encoded(np.full((20, 30), 700, np.uint16)),
        "<= 255; they go up to 700",
    ),
}


@pytest.mark.parametrize("engine", ["tensorflow", "python"])
@pytest.mark.parametrize("what", BAD)
def test_the_mask_is_named(folder, what, engine):
    data, told = BAD[what]
    bad = folder / "masks" / "1.png"
    bad.write_bytes(data)
    source = load(folder / "images", masks=folder / "masks", on_error="skip")
    message = rf"^1 of 3 images of .* are skipped: the mask {bad} \(.*{told}"
    with pytest.warns(UserWarning, match=message):
        assert len(read(source, engine)) == COUNT - 1


@pytest.mark.parametrize("engine", ["tensorflow", "python"])
def test_an_image_is_not_blamed_on_its_mask(folder, engine):
    image = folder / "images" / "1.jpg"
    image.write_bytes(image.read_bytes()[:300])
    (folder / "masks" / "1.png").write_bytes(BAD["colours"][0])
    source = load(folder / "images", masks=folder / "masks", on_error="skip")
    with pytest.warns(UserWarning, match=rf"skipped: {image} \("):
        read(source, engine)


def test_reasons_that_are_the_same_are_told_once(folder):
    for mask in (folder / "masks").iterdir():
        Image.fromarray(picture(20, 30)).save(mask)
    source = load(folder / "images", masks=folder / "masks", on_error="skip")
    names = ", ".join(f"the mask {folder / f'masks/{n}.png'}" for n in range(3))
    with pytest.raises(ValueError, match=rf"None of the 3 .*: {names} \(a seg"):
        read(source, "python")


def test_images_without_a_mask(folder):
    arguments = {"source": folder / "images", "masks": folder / "masks"}
    (folder / "masks" / "1.png").unlink()
    message = r"1 of 3 images have no mask of the same name.*1\.png"
    with pytest.raises(ValueError, match=f"{message}.*on_error='skip'"):
        load(**arguments)
    with pytest.warns(UserWarning, match=f"{message}'.$"):
        source = load(**arguments, on_error="skip")
    assert [path[-5:] for path in source._paths] == ["0.jpg", "2.jpg"]
    assert len(read(source, "python")) == 2


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("{}.jpg", r"\(but '0.jpg': masks must be PNG files\). Add them\.$"),
        ("{}_mask.png", r"\(but '0_mask.png': masks must have the images' nam"),
    ],
)
def test_masks_of_other_names(folder, name, told):
    for number in range(COUNT):
        mask = folder / "masks" / f"{number}.png"
        mask.rename(mask.with_name(name.format(number)))
    with pytest.raises(ValueError, match=told):
        load(folder / "images", masks=folder / "masks", on_error="skip")
