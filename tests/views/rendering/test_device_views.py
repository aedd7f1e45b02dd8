"""Views made of matrix products, against loops over pixels in float64."""

import math

import keras
import numpy as np
import pytest
from backend_tools import FASTEST, MODES, value, value_and_grad
from keras import ops

from keras_vicregl.views import MultiView, ViewGroup
from keras_vicregl.views.rendering import device
from keras_vicregl.views.rendering.device import device_views, render

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# Pixels as they are, in [0, 255].
PLAIN = {"mean": (0.0,) * 3, "std": (1 / 255,) * 3}
IDENTITY = np.eye(3, dtype="float32")
SOURCE = (21, 26)
IMAGES, VIEWS = 3, 2


def images_of(size=SOURCE, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (IMAGES, *size, 3), dtype=np.uint8)


def nothing_but(boxes, **others):
    """Parameters that leave everything but some of it as it is."""
    boxes = np.float32(boxes)
    shape = boxes.shape[:2]
    parameters = {
        "boxes": boxes,
        "flips": np.zeros(shape),
        "matrix": np.broadcast_to(IDENTITY, (*shape, 3, 3)),
        "from_mean": np.zeros((*shape, 3, 3)),
        "sigma": np.zeros(shape),
        "solarize": np.zeros(shape),
        **others,
    }
    return {name: np.float32(values) for name, values in parameters.items()}


def all_at_once(size=SOURCE, seed=1):
    """Parameters that change everything, with boxes of all kinds."""
    rng = np.random.default_rng(seed)
    height, width = size
    boxes = [
        [[0, 0, height, width], [3, 7, 5, 4]],
        [[height - 1, width - 1, 1, 1], [0, 2, height, 3]],
        [[2, 0, 8, width], [4, 5, 12, 13]],
    ]
    return nothing_but(
        boxes,
        flips=[[0, 1], [1, 0], [1, 0]],
        matrix=IDENTITY + rng.normal(0, 0.3, (IMAGES, VIEWS, 3, 3)),
        from_mean=rng.normal(0, 0.2, (IMAGES, VIEWS, 3, 3)),
        sigma=[[0.0, 0.4], [2.0, 0.1], [1.3, 0.0]],
        solarize=[[0, 1], [1, 0], [0, 1]],
    )


def rendered(images, parameters, compiled=None, **options):
    """`render` as float64 NumPy, (B, n, h, w, 3)."""
    names = sorted(parameters)

    def fn(images, *values):
        views = render(images, dict(zip(names, values, strict=True)), **options)
        return ops.stack(views, axis=1)

    arrays = [images, *(parameters[name] for name in names)]
    how = {} if compiled is None else {"compiled": compiled}
    return np.float64(value(fn, arrays, **how))


def keys_cubic(x):
    x = abs(x)
    if x < 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def triangle(x):
    return max(0.0, 1 - abs(x))


def axis_of(offset, side, length, out, flipped, interpolation, antialias):
    """The definition, pixel by pixel: a matrix (out, length)."""
    matrix = np.zeros((out, length))
    for i in range(out):
        place = out - 1 - i if flipped else i
        if interpolation == "nearest":
            pixel = (2 * place + 1) * int(side) // (2 * out)
            matrix[i, int(offset) + pixel] = 1
            continue
        kernel = {"bicubic": keys_cubic, "bilinear": triangle}[interpolation]
        ratio = side / out
        widening = max(ratio, 1.0) if antialias else 1.0
        weights = [
            kernel((k + 0.5 - (place + 0.5) * ratio) / widening)
            for k in range(int(side))
        ]
        matrix[i, int(offset) : int(offset + side)] = weights / np.sum(weights)
    return matrix


def blur_of(sigma, out):
    """The blur along an axis as a matrix (out, out), edges replicated."""
    matrix = np.zeros((out, out))
    reach = math.ceil(3 * sigma)
    taps = [
        math.exp(-(q**2) / (2 * sigma**2)) if sigma else 1.0
        for q in range(-reach, reach + 1)
    ]
    for i in range(out):
        for q, tap in zip(range(-reach, reach + 1), taps, strict=True):
            matrix[i, min(max(i + q, 0), out - 1)] += tap / sum(taps)
    return matrix


def reference(
    images,
    parameters,
    *,
    size,
    mean,
    std,
    interpolation="bicubic",
    antialias=True,
    threshold=128.0,
):
    """What a view is, in float64: (B, n, h, w, 3)."""
    how = (interpolation, antialias)
    views = []
    for b, image in enumerate(np.float64(images)):
        for v in range(parameters["boxes"].shape[1]):
            drawn = {k: np.float64(x[b, v]) for k, x in parameters.items()}
            top, left, height, width = drawn["boxes"]
            sigma = float(drawn["sigma"])
            rows = axis_of(top, height, image.shape[0], size[0], False, *how)
            columns = axis_of(
                left, width, image.shape[1], size[1], drawn["flips"] > 0, *how
            )
            rows = blur_of(sigma, size[0]) @ rows
            columns = blur_of(sigma, size[1]) @ columns
            view = np.einsum(
                "hH,wW,HWc->hwc", rows, columns, image, optimize=True
            )
            offset = drawn["from_mean"] @ view.mean(axis=(0, 1))
            view = np.clip(view @ drawn["matrix"].T + offset, 0.0, 255.0)
            if drawn["solarize"]:
                view = np.where(view < threshold, view, 255.0 - view)
            views.append((view / 255.0 - mean) / std)
    return np.reshape(views, (len(images), -1, *size, images.shape[-1]))


@pytest.mark.parametrize(
    ("source", "size", "options"),
    [
        (SOURCE, (12, 9), {}),
        (SOURCE, (29, 34), {"interpolation": "bilinear"}),
        ((24, 24), (16, 16), {"interpolation": "nearest"}),
        ((24, 24), (16, 16), {"antialias": False, "threshold": 90.0}),
    ],
)
def test_views_are_what_the_definition_says(source, size, options):
    images, parameters = images_of(source), all_at_once(source)
    options = {"size": size, **PLAIN, **options}
    actual = rendered(images, parameters, **options)
    expected = reference(images, parameters, **options)
    # Of 255. Solarised values jump by 1 at the threshold: none is that near.
    np.testing.assert_allclose(actual, expected, atol=0.01)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_the_whole_image_at_its_own_size_is_the_image(interpolation):
    images = images_of()
    boxes = np.tile([0, 0, *SOURCE], (IMAGES, 1, 1))
    actual = rendered(
        images,
        nothing_but(boxes),
        size=SOURCE,
        **PLAIN,
        interpolation=interpolation,
    )
    np.testing.assert_allclose(actual[:, 0], images, atol=1e-3)


def test_views_are_those_that_the_host_makes():
    groups = [ViewGroup((20, 9), 2, solarize=(0.5,))]
    recipe = MultiView(groups, on="device")
    images, seeds = images_of(), [[7, index] for index in range(IMAGES)]
    host = MultiView(groups, jit_compile=False)(
        {"images": images, "seeds": np.array(seeds)}
    )
    drawn = recipe.parameters(seeds, SOURCE)
    values = keras.tree.flatten(drawn)

    def fn(images, *values):
        parameters = keras.tree.pack_sequence_as(drawn, values)
        return device_views(recipe, images, parameters)

    views, maps = value(fn, [images, *values])
    assert len(views) == len(maps) == 2
    for one, other in zip(maps, host["view_to_source"], strict=True):
        np.testing.assert_array_equal(one, other)
    scale = 255 * np.float32(STD)
    for one, other in zip(views, host["views"], strict=True):
        # Where they are solarised, a value just below the threshold may become
        # one just above it: that is a step of 1 in 255.
        errors = scale * np.abs(one - np.asarray(other))
        assert np.max(errors) <= 1.05
        assert np.mean(errors > 0.01) < 1e-3


# JAX without compilation compiles every operation by itself.
@pytest.mark.parametrize("compiled", sorted({FASTEST, MODES[-1]}))
def test_views_are_normalised_whether_compiled_or_not(compiled):
    images, parameters = images_of(), all_at_once()
    options = {"size": (9, 7), "mean": MEAN, "std": STD}
    actual = rendered(images, parameters, compiled=compiled, **options)
    expected = reference(images, parameters, **options)
    # In units of the standard deviation, 57 of 255.
    np.testing.assert_allclose(actual, expected, atol=2e-4)


@pytest.mark.parametrize("source", [(40, 40), (30, 44)])
def test_pixels_lie_where_boxes_and_flips_put_them(source):
    height, width = source
    # Away from the edges, where a kernel is cut, one that is not widened leaves
    # a ramp as it is: a pixel's value is the place it comes from.
    row, column = np.mgrid[:height, :width]
    ramps = np.stack([5 * column, 5 * row, 0 * row], axis=-1)
    images = np.uint8(np.tile(ramps, (IMAGES, 1, 1, 1)))
    boxes = [[[3, 5, 20, 24], [8, 2, 11, 9]]] * IMAGES
    flips = [[0, 1], [1, 0], [1, 1]]
    h, w = 16, 14
    views = rendered(
        images,
        nothing_but(boxes, flips=flips),
        size=(h, w),
        antialias=False,
        **PLAIN,
    )
    inner = (slice(4, -4), slice(4, -4))
    for example, view in np.ndindex(IMAGES, VIEWS):
        top, left, box_height, box_width = boxes[example][view]
        u, v = (np.arange(w) + 0.5) / w, (np.arange(h) + 0.5) / h
        if flips[example][view]:
            u = 1 - u
        x, y = np.meshgrid(left + box_width * u, top + box_height * v)
        found = views[example, view] / 5 + 0.5
        np.testing.assert_allclose(found[inner][..., 0], x[inner], atol=0.01)
        np.testing.assert_allclose(found[inner][..., 1], y[inner], atol=0.01)


def rounded_product(bits):
    """A matmul of an accelerator that keeps so many bits of its factors."""
    matmul, splitter = ops.matmul, 2.0 ** (24 - bits) + 1.0

    def rounded(values):
        # Veltkamp's: the upper bits of a float32.
        scaled = values * splitter
        return scaled - (scaled - values)

    return lambda a, b: matmul(rounded(a), rounded(b))


# bfloat16 keeps 8 bits and TF32 11.
@pytest.mark.parametrize(("bits", "unguarded"), [(8, 1.5), (11, 0.15)])
def test_accelerators_may_round_the_factors_of_products(
    bits, unguarded, monkeypatch
):
    # As much contrast as the scenes' jitter allows.
    parameters = {
        **all_at_once(),
        "matrix": np.broadcast_to(3.2 * IDENTITY, (IMAGES, VIEWS, 3, 3)),
        "from_mean": np.broadcast_to(-2.2 * IDENTITY, (IMAGES, VIEWS, 3, 3)),
        "solarize": np.zeros((IMAGES, VIEWS), "float32"),
    }
    images = np.uint8(255 * (images_of() > 127))
    options = {"size": (12, 9), **PLAIN}
    expected = reference(images, parameters, **options)
    monkeypatch.setattr(ops, "matmul", rounded_product(bits))
    actual = rendered(images, parameters, **options)
    np.testing.assert_allclose(actual, expected, atol=0.02)  # of 255
    # And it is the splitting of factors that achieves this.
    monkeypatch.setattr(
        device, "_split", lambda values, _: (values, 0 * values)
    )
    actual = rendered(images, parameters, **options)
    assert np.max(np.abs(actual - expected)) > unguarded


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_views_come_in_the_dtype_asked_for(dtype):
    images, parameters = images_of(), all_at_once()
    options = {"size": (9, 7), "mean": MEAN, "std": STD}
    actual = rendered(images, parameters, dtype=dtype, **options)
    expected = reference(images, parameters, **options)
    precision = 2.0 ** -(8 if dtype == "bfloat16" else 11)
    np.testing.assert_allclose(actual, expected, rtol=precision, atol=3e-4)
    assert np.max(np.abs(actual - expected)) > 0.1 * precision


def test_no_gradient_flows_into_what_was_drawn():
    images = ops.convert_to_tensor(images_of())
    maps = np.ones((IMAGES, VIEWS, 2, 3), "float32")
    drawn = {**all_at_once(), "view_to_source": maps}
    changing = ("boxes", "flips", "matrix", "sigma", "view_to_source")

    def loss(*values):
        parameters = {**drawn, **dict(zip(changing, values, strict=True))}
        views, maps = device_views(Recipe(), images, (parameters,))
        return sum(ops.sum(each) for each in (*views, *maps))

    arrays = [np.float32(drawn[name]) for name in changing]
    # Weighed against a term that does depend on one of them.
    _, gradients = value_and_grad(
        lambda *values: loss(*values) + ops.sum(values[0]), arrays
    )
    np.testing.assert_array_equal(gradients[0], np.ones_like(arrays[0]))
    for gradient in gradients[1:]:
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))


class Recipe:
    """As much of a `MultiView` as making its views takes."""

    groups = (ViewGroup((6, 5), VIEWS),)
    mean, std = MEAN, STD
    interpolation, antialias = "bicubic", True
    compute_dtype = "float32"


def test_images_of_unknown_size_are_refused():
    images = keras.KerasTensor((None, None, 26, 3), dtype="uint8")
    with pytest.raises(ValueError, match="known in advance"):
        device_views(Recipe(), images, (all_at_once(),))


def test_images_that_are_not_uint8_are_refused():
    images = ops.convert_to_tensor(np.float32(images_of()))
    with pytest.raises(ValueError, match="float32 of shape"):
        device_views(Recipe(), images, (all_at_once(),))


@pytest.mark.parametrize(
    ("parameters", "received"),
    [
        (({"flips": 0},), "tuple"),
        ((nothing_but(np.ones((IMAGES, 3, 4))),), r"\[3\] views"),
    ],
)
def test_parameters_of_another_recipe_are_refused(parameters, received):
    images = ops.convert_to_tensor(images_of())
    with pytest.raises(ValueError, match=f"Received: {received}"):
        device_views(Recipe(), images, parameters)
