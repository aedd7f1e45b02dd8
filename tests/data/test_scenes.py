import builtins
import hashlib
import itertools

import numpy as np
import pytest

from keras_vicregl.data import (
    CLASS_NAMES,
    SEGMENTATION_CLASS_NAMES,
    digit_scenes,
    scenes,
)

datasets = pytest.importorskip("sklearn.datasets")

VARIANTS = list(itertools.product(("train", "test"), (False, True)))


def style_of(hard):
    return scenes._HARD if hard else scenes._EASY


def layouts(split, count, *, size=64, seed=0, hard=False):
    """What `digit_scenes` has drawn for each of its scenes."""
    sources = scenes._load_sources(split)
    number = {"train": 0, "test": 1}[split]
    return [
        scenes._draw_layout(
            np.random.default_rng([seed, number, i]),
            sources,
            size,
            style_of(hard),
        )
        for i in range(count)
    ]


def keys_cubic(distance):
    """The cubic convolution kernel of Keys (1981) with a = -1/2."""
    x = np.abs(distance)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def upsampled(digit, side):
    """Ink of an 8 x 8 digit (values to 16) at (side, side), in float64."""
    positions = (np.arange(side) + 0.5) * 8 / side - 0.5
    weights = keys_cubic(positions[:, None] - np.arange(8))
    # Pillow stores bytes between its two passes, and so cuts what overshoots.
    across = np.clip(digit @ weights.T / 16, 0, 1)
    return np.clip(weights @ across, 0, 1)


@pytest.mark.parametrize(("split", "hard"), VARIANTS)
def test_shapes_and_types(split, hard):
    data = digit_scenes(split, 3, size=48, hard=hard)
    assert {key: (a.shape, a.dtype) for key, a in data.items()} == {
        "images": ((3, 48, 48, 3), np.uint8),
        "labels": ((3,), np.int32),
        "segmentation_masks": ((3, 48, 48, 1), np.uint8),
    }


def test_class_names_match_the_labels():
    assert "".join(CLASS_NAMES) == "0123456789"
    assert SEGMENTATION_CLASS_NAMES[0] == "background"
    assert SEGMENTATION_CLASS_NAMES[1:] == CLASS_NAMES


@pytest.mark.parametrize(("split", "hard"), VARIANTS)
def test_a_scene_depends_on_seed_split_and_index_only(split, hard):
    options = {"seed": 7, "hard": hard}
    few = digit_scenes(split, 5, **options)
    many = digit_scenes(split, 10, **options)
    for key in few:
        np.testing.assert_array_equal(few[key], many[key][:5])


def test_scenes_differ_between_seeds_splits_variants_and_indices():
    images = [
        image.tobytes()
        for seed, (split, hard) in itertools.product((0, 1), VARIANTS)
        for image in digit_scenes(split, 20, seed=seed, hard=hard)["images"]
    ]
    assert len(set(images)) == 2 * 4 * 20


def test_splits_share_no_digit_and_no_pixel_of_a_photograph():
    """The parts put side by side are the originals, so none overlaps."""
    train, test = (scenes._load_sources(split) for split in ("train", "test"))
    photographs = datasets.load_sample_images().images
    for left, right, photograph in zip(
        train.photographs, test.photographs, photographs, strict=True
    ):
        np.testing.assert_array_equal(np.hstack([left, right]), photograph)
    bunch = datasets.load_digits()
    digits = np.concatenate([train.digits, test.digits])[:, 4:-4, 4:-4]
    np.testing.assert_array_equal(np.rint(digits / (255 / 16)), bunch.images)
    np.testing.assert_array_equal(
        np.concatenate([train.classes, test.classes]), bunch.target
    )
    # Nor does a digit occur twice in the data.
    assert not {d.tobytes() for d in train.digits} & {
        d.tobytes() for d in test.digits
    }


@pytest.mark.parametrize(("split", "hard"), VARIANTS)
def test_layouts_stay_within_the_stated_ranges(split, hard):
    sides, ink, counts, crops, means = [], [], [], [], []
    sources = scenes._load_sources(split)
    for layout in layouts(split, 400, size=50, hard=hard):
        left, top, right, bottom = layout.box
        photograph = sources.photographs[layout.photograph]
        assert 0 <= left < right <= photograph.width
        assert 0 <= top < bottom <= photograph.height
        assert right - left == bottom - top
        crops.append(right - left)
        means.append(layout.mean)
        counts.append(len(layout.digits))
        for digit in layout.digits:
            sides.append(digit.side)
            ink.extend(digit.ink)
            assert 0 <= digit.top <= 50 - digit.side
            assert 0 <= digit.left <= 50 - digit.side
    # All values occur in 400 draws but for the extremes of ranges of more
    # than a hundred values.
    assert (min(sides), max(sides)) == ((16, 40) if hard else (22, 44))
    assert set(counts) == ({1, 2, 3} if hard else {1, 2})
    assert min(crops) in range(48, 52) and max(crops) in range(176, 181)
    assert 60 <= min(means) < 62 and 118 < max(means) <= 120
    darkest = 0 if hard else 200
    assert min(ink) in range(darkest, darkest + 4)
    assert max(ink) in range(252, 256)


def test_photographs_and_digits_are_drawn_evenly():
    drawn = layouts("train", 2000)
    # Within four standard deviations of binomial counts.
    flowers = sum(layout.photograph for layout in drawn)
    assert abs(flowers - 1000) < 4 * np.sqrt(2000 / 4)
    counts = np.bincount(digit_scenes("train", 1000)["labels"], minlength=10)
    assert np.all(np.abs(counts - 100) < 4 * np.sqrt(1000 * 0.1 * 0.9))


@pytest.mark.parametrize(("split", "hard"), VARIANTS)
def test_labels_and_masks_are_those_of_the_digits_drawn(split, hard):
    """Recomputed from the data set's own digits and another upsampling."""
    count = 60
    bunch = datasets.load_digits()
    quarter = 3 * len(bunch.images) // 4
    chosen = slice(quarter) if split == "train" else slice(quarter, None)
    digits, classes = bunch.images[chosen], bunch.target[chosen]
    data = digit_scenes(split, count, hard=hard)
    for i, layout in enumerate(layouts(split, count, hard=hard)):
        expected = np.zeros((64, 64))
        uncertain = np.zeros((64, 64), bool)
        for digit in sorted(layout.digits, key=lambda digit: digit.side):
            place = np.s_[
                digit.top : digit.top + digit.side,
                digit.left : digit.left + digit.side,
            ]
            ink = upsampled(digits[digit.sample], digit.side)
            expected[place][ink > 0.5] = classes[digit.sample] + 1
            # Ink is rounded to 1 / 255 before and in each of two passes.
            uncertain[place] |= np.abs(ink - 0.5) < 4 / 255
        mask = data["segmentation_masks"][i, :, :, 0]
        np.testing.assert_array_equal(mask[~uncertain], expected[~uncertain])
        assert uncertain.mean() < 0.02
        largest = max(layout.digits, key=lambda digit: digit.side)
        sides = [digit.side for digit in layout.digits]
        if sides.count(largest.side) == 1:
            assert data["labels"][i] == classes[largest.sample]
        assert np.any(mask == data["labels"][i] + 1)


def test_the_larger_digit_is_in_front():
    """Its own ink is never hidden, whatever overlaps it."""
    sources = scenes._load_sources("train")
    overlaps = 0
    data = digit_scenes("train", 200)
    for i, layout in enumerate(layouts("train", 200)):
        front = layout.digits[-1]
        ink = scenes._upsample(sources.digits[front.sample], front.side)
        place = np.s_[
            front.top : front.top + front.side,
            front.left : front.left + front.side,
            0,
        ]
        mask = data["segmentation_masks"][i][place]
        assert np.all(mask[ink >= 0.5] == data["labels"][i] + 1)
        overlaps += bool(np.any(mask[ink < 0.5]))
    assert overlaps > 20


def test_digits_of_equal_size_are_labelled_by_the_front_one():
    sources = scenes._load_sources("train")
    ties = 0
    labels = digit_scenes("train", 200, hard=True)["labels"]
    for label, layout in zip(
        labels, layouts("train", 200, hard=True), strict=True
    ):
        sides = [digit.side for digit in layout.digits]
        assert sides == sorted(sides)
        ties += len(sides) > 1 and sides[-1] == sides[-2]
        assert label == sources.classes[layout.digits[-1].sample]
    assert ties >= 3


@pytest.mark.parametrize("split", ["train", "test"])
def test_background_is_the_photograph_at_half_contrast(split):
    photographs = datasets.load_sample_images().images
    border = 2 * photographs[0].shape[1] // 3
    data = digit_scenes(split, 40)
    for i, layout in enumerate(layouts(split, 40)):
        left, top, right, bottom = np.array(layout.box) + (
            np.array([1, 0, 1, 0]) * (border if split == "test" else 0)
        )
        crop = photographs[layout.photograph][top:bottom, left:right]
        empty = np.ones((64, 64), bool)
        for digit in layout.digits:
            empty[
                digit.top : digit.top + digit.side,
                digit.left : digit.left + digit.side,
            ] = False
        background = data["images"][i][empty].astype(float)
        # Resizing keeps the mean and shrinks extremes, up to the rounding of
        # each pixel by at most 1.
        extremes = layout.mean + 0.5 * (
            np.array([crop.min(), crop.max()]) - crop.mean()
        )
        assert background.min() >= max(extremes[0], 0) - 1
        assert background.max() <= min(extremes[1], 255) + 1


def test_contrast_and_mean_of_backgrounds():
    """The rules on a known photograph, without digits."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    photograph = rng.integers(60, 190, (80, 90, 3), dtype=np.uint8)
    sources = scenes._Sources(
        np.zeros(0), np.zeros(0), (image.fromarray(photograph),)
    )
    layout = scenes._Layout(0, (10, 5, 74, 69), 100.0, ())
    plain = photograph[5:69, 10:74].astype(np.float32)
    # A crop of 64 px is not resampled, so that both are exact.
    hard = scenes._background(layout, sources, 64, half_contrast=False)
    np.testing.assert_array_equal(hard, plain)
    easy = scenes._background(layout, sources, 64, half_contrast=True)
    expected = 100 + 0.5 * (plain - plain.mean(dtype=np.float64))
    # float32 holds values of about 100 to 1e-5.
    np.testing.assert_allclose(easy, expected, atol=1e-4)


def test_ink_covers_the_background():
    """Pixels of full ink have the ink's colour, in either variant."""
    for hard in (False, True):
        sources = scenes._load_sources("train")
        images = digit_scenes("train", 30, hard=hard)["images"]
        for image, layout in zip(
            images, layouts("train", 30, hard=hard), strict=True
        ):
            front = layout.digits[-1]
            ink = scenes._upsample(sources.digits[front.sample], front.side)
            area = image[
                front.top : front.top + front.side,
                front.left : front.left + front.side,
            ]
            full = area[ink == 1]
            assert len(full)
            np.testing.assert_array_equal(
                full, np.broadcast_to(front.ink, full.shape)
            )


def test_known_scene():
    """Pins the generator: another stream of draws is another data set."""
    data = digit_scenes("train", 4)
    assert data["labels"].tolist() == [1, 4, 7, 1]
    layout = layouts("train", 1)[0]
    assert (layout.photograph, layout.box) == (1, (14, 5, 97, 88))


def test_smallest_size_holds_the_largest_digit():
    assert digit_scenes("train", 50, size=44)["images"].shape[1] == 44
    assert digit_scenes("test", 50, size=40, hard=True)["images"].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "validation"}, "split must be one of 'train', 'test'"),
        ({"count": 0}, "count must be an integer of at least 1"),
        ({"count": 2.5}, "count=2.5"),
        ({"size": 43}, "size must be an integer of at least 44"),
        ({"size": 39, "hard": True}, "size must be an integer of at least 40"),
        ({"size": (64, 64)}, "size="),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"seed": None}, "seed=None"),
    ],
)
def test_bad_arguments(arguments, message):
    arguments = {"split": "train", "count": 2, **arguments}
    with pytest.raises(ValueError, match=message):
        digit_scenes(**arguments)


def test_missing_scikit_learn_is_named(monkeypatch):
    original = builtins.__import__

    def without_sklearn(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(f"No module named {name!r}")
        return original(name, *args, **kwargs)

    scenes._load_sources.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without_sklearn)
    with pytest.raises(ImportError, match="pip install scikit-learn pillow"):
        digit_scenes("train", 1)


@pytest.mark.parametrize(("split", "hard"), VARIANTS)
def test_boxes_are_tight_around_what_is_visible(split, hard):
    count, most = 100, 3 if hard else 2
    sources = scenes._load_sources(split)
    data = digit_scenes(split, count, hard=hard, boxes=True)
    assert data["boxes"].shape == (count, most, 4)
    assert data["boxes"].dtype == np.float32
    assert data["box_classes"].dtype == np.int32
    for i, layout in enumerate(layouts(split, count, hard=hard)):
        owner = np.full((64, 64), -1)
        for number, digit in enumerate(layout.digits):
            ink = scenes._upsample(sources.digits[digit.sample], digit.side)
            for y, x in np.argwhere(ink >= 0.5):
                owner[digit.top + y, digit.left + x] = number
        expected = []
        for number in reversed(range(len(layout.digits))):
            rows, columns = np.nonzero(owner == number)
            if len(rows):
                low = columns.min(), rows.min()
                high = columns.max() + 1, rows.max() + 1
                label = sources.classes[layout.digits[number].sample]
                expected.append([*low, *high, label])
        expected += [[0, 0, 0, 0, -1]] * (most - len(expected))
        found = np.column_stack([data["boxes"][i], data["box_classes"][i]])
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("split", "hard"), VARIANTS)
def test_scenes_are_the_same_with_and_without_boxes(split, hard):
    plain = digit_scenes(split, 20, hard=hard)
    boxed = digit_scenes(split, 20, hard=hard, boxes=True)
    assert set(boxed) - set(plain) == {"boxes", "box_classes"}
    for key, value in plain.items():
        np.testing.assert_array_equal(boxed[key], value)
    np.testing.assert_array_equal(boxed["box_classes"][:, 0], plain["labels"])


def test_known_scenes_to_the_bit():
    """Made before there were boxes."""
    known = {
        ("train", False): ("25ea114227", "5c8ebbba67", "b3ee44fc28"),
        ("train", True): ("a3460d7a09", "c0bcc2b588", "9593c102bf"),
        ("test", False): ("37e85b4372", "17a55099a3", "2796b69d1a"),
        ("test", True): ("792dd0b01d", "a0677d5e35", "a458e5b8ca"),
    }
    for (split, hard), sums in known.items():
        data = digit_scenes(split, 300, hard=hard)
        found = [
            hashlib.sha1(data[key].tobytes()).hexdigest()[:10]
            for key in ("images", "labels", "segmentation_masks")
        ]
        assert tuple(found) == sums


def test_hidden_digits_have_no_box(monkeypatch):
    """Of solid squares, the larger one hides what is behind it."""
    monkeypatch.setattr(
        scenes,
        "_upsample",
        lambda digit, side: np.ones((side, side), np.float32),
    )
    data = digit_scenes("train", 400, boxes=True)
    hidden = 0
    for boxes, classes, layout in zip(
        data["boxes"], data["box_classes"], layouts("train", 400), strict=True
    ):
        squares = [
            [d.left, d.top, d.left + d.side, d.top + d.side]
            for d in reversed(layout.digits)
        ]
        assert boxes[0].tolist() == squares[0]
        if len(squares) == 1:
            continue
        (left, top, right, bottom), back = squares
        inside = (
            left <= back[0]
            and top <= back[1]
            and back[2] <= right
            and back[3] <= bottom
        )
        hidden += inside
        assert (classes[1] == -1) == inside
        assert boxes[1].any() != inside
    assert hidden >= 5
