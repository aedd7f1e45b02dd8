"""Images per second and core: our views, keras-cv, Keras and Pillow.

    python benchmarks/views.py                  # everything, about 5 minutes
    python benchmarks/views.py --only recipes   # or layers, channels, device
    make bench-views ARGS="--rounds 7"

One core: every thread pool has one thread, and time is that of the processor,
so that other work on the machine disturbs little. The contestants of a table
take turns; the table has their medians, and the median over the rounds of how
much faster each is than the first. Images are parts of photographs, 256 x 256
uint8, unless said otherwise. "device" are views as a model makes them, by
TensorFlow with XLA, of parameters that are drawn beforehand.
"""

import argparse
import io
import os
import statistics
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ["OMP_NUM_THREADS"] = "1"

import keras
import keras_cv
import numpy as np
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageFilter, ImageOps
from sklearn.datasets import load_sample_images

from keras_vicregl.data import digit_scenes
from keras_vicregl.views import (
    ColorJitter,
    MultiView,
    RandomGaussianBlur,
    RandomGrayscale,
    RandomResizedCrop,
    RandomSolarize,
)

BATCH = 32
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def photographs(count, height, width):
    """uint8 (count, height, width, 3), parts of two photographs."""
    rng = np.random.default_rng(0)
    images = []
    for index in range(count):
        whole = load_sample_images().images[index % 2]
        if height > 420 or width > 640:
            whole = np.asarray(Image.fromarray(whole).resize((1280, 854)))
        y = rng.integers(0, whole.shape[0] - height + 1)
        x = rng.integers(0, whole.shape[1] - width + 1)
        images.append(whole[y : y + height, x : x + width])
    return np.stack(images)


def one_core(dataset):
    options = tf.data.Options()
    options.threading.private_threadpool_size = 1
    options.threading.max_intra_op_parallelism = 1
    # Nothing is made in advance: the work of one contestant would be counted
    # for the next.
    options.autotune.enabled = False
    options.experimental_optimization.inject_prefetch = False
    return dataset.with_options(options)


class Stream:
    """Samples of an endless tf.data pipeline."""

    def __init__(self, images, function, batched=True):
        seeds = np.stack([np.zeros(len(images), int), np.arange(len(images))])
        data = {"images": images, "seeds": seeds.T}
        dataset = tf.data.Dataset.from_tensor_slices(data).repeat()
        if batched:
            dataset = dataset.batch(BATCH, drop_remainder=True).map(function)
        else:
            dataset = dataset.map(function).batch(BATCH, drop_remainder=True)
        self._iterator = iter(one_core(dataset))

    def run(self, samples):
        """Make about as many samples; return how many."""
        for _ in range(max(1, samples // BATCH)):
            next(self._iterator)
        return max(1, samples // BATCH) * BATCH


class OnDevice:
    """Samples whose views are made as in a compiled step."""

    def __init__(self, images, recipe):
        images = images[:BATCH]
        seeds = [[0, index] for index in range(BATCH)]
        (inputs,) = recipe.inputs(images, seeds=seeds)
        self._inputs = keras.tree.map_structure(tf.constant, inputs)
        self._render = tf.function(
            lambda inputs: recipe.render(inputs)["views"], jit_compile=True
        )

    def run(self, samples):
        """Make about as many samples; return how many."""
        for _ in range(max(1, samples // BATCH)):
            self._render(self._inputs)
        return max(1, samples // BATCH) * BATCH


class Jpegs(Stream):
    """Files of several sizes, decoded and viewed one by one."""

    def __init__(self, function):
        files = []
        for size in ((375, 500), (500, 375), (333, 500)):
            for image in photographs(8, *size):
                file = io.BytesIO()
                Image.fromarray(image).save(file, "JPEG", quality=90)
                files.append(file.getvalue())

        def decode_and_view(example):
            image = tf.io.decode_jpeg(example["images"], channels=3)
            return function({**example, "images": image})

        super().__init__(np.array(files), decode_and_view, batched=False)


class Pillow:
    """Two views as torchvision makes them of PIL images, one after another."""

    def __init__(self, images):
        self._images = [Image.fromarray(image) for image in images]
        self._rng = np.random.default_rng(0)
        self._recipe = MultiView.resnet()

    def run(self, samples):
        """Make an eighth as many samples; return how many."""
        samples = max(4, samples // 8)
        for index in range(samples):
            image = self._images[index % len(self._images)]
            (drawn,) = self._recipe.parameters(
                [[0, index]], (image.height, image.width)
            )
            for view in range(2):
                self._view(image, drawn["boxes"][0, view], view)
        return samples

    def _view(self, image, box, view):
        rng = self._rng
        top, left, height, width = map(int, box)
        # PIL's own lazy box, as torchvision's crop and resize in one.
        image = image.resize(
            (224, 224),
            Image.Resampling.BICUBIC,
            box=(left, top, left + width, top + height),
        )
        if rng.random() < 0.5:
            image = ImageOps.mirror(image)
        if rng.random() < 0.8:
            for change in rng.permutation(4):
                image = self._jitter(image, change)
        if rng.random() < 0.2:
            image = image.convert("L").convert("RGB")
        if rng.random() < (0.1 if view else 1.0):
            sigma = rng.uniform(0.1, 2.0)
            image = image.filter(ImageFilter.GaussianBlur(sigma))
        if rng.random() < 0.2 * view:
            image = ImageOps.solarize(image, 128)
        pixels = np.asarray(image, "float32") / 255.0
        return ((pixels - MEAN) / STD).astype("float32")

    def _jitter(self, image, change):
        rng = self._rng
        if change == 3:
            hue, saturation, value = image.convert("HSV").split()
            shifted = np.asarray(hue) + np.uint8(256 * rng.uniform(0.0, 0.1))
            hue = Image.fromarray(shifted, "L")
            return Image.merge("HSV", (hue, saturation, value)).convert("RGB")
        enhance, strength = (
            (ImageEnhance.Brightness, 0.4),
            (ImageEnhance.Contrast, 0.4),
            (ImageEnhance.Color, 0.2),
        )[change]
        return enhance(image).enhance(rng.uniform(1 - strength, 1 + strength))


def twice(layers, rates):
    """Two views by layers of keras-cv or Keras, for the shares of images."""

    def function(example):
        views = []
        for _ in range(2):
            images = tf.cast(example["images"], tf.float32)
            for layer, rate in zip(layers, rates, strict=True):
                images = _for_some(layer, rate, images)
            images = (images / 255.0 - MEAN.astype("float32")) / STD.astype(
                "float32"
            )
            views.append(images)
        return tuple(views)

    return function


def _for_some(layer, rate, images):
    """The layer for exactly the share `rate` of a batch; others cost nothing.

    keras-cv's RandomApply computes the layer for all images of a batch.
    """
    if rate == 1.0:
        return layer(images)
    count = round(rate * BATCH)
    changed = tf.cast(layer(images[:count]), images.dtype)
    return tf.concat([changed, images[count:]], axis=0)


def keras_cv_chain():
    layers = keras_cv.layers
    return twice(
        [
            layers.RandomCropAndResize((224, 224), (0.08, 1.0), (3 / 4, 4 / 3)),
            layers.RandomFlip("horizontal"),
            layers.RandomColorJitter((0, 255), 0.4, 0.4, 0.2, 0.1),
            layers.Grayscale(3),
            layers.RandomGaussianBlur(23, (0.1, 2.0)),
            layers.Solarization((0, 255), 0, (128, 128)),
        ],
        [1.0, 1.0, 0.8, 0.2, 0.55, 0.1],
    )


def keras_chain():
    layers = keras.layers
    return twice(
        [
            layers.RandomCrop(224, 224),
            layers.RandomFlip("horizontal"),
            layers.RandomColorJitter(
                (0, 255), 0.4, 0.4, (0.4, 0.6), 0.1, data_format="channels_last"
            ),
            layers.RandomGrayscale(1.0),
            layers.RandomGaussianBlur(1.0, 23, 1.0),
            layers.Solarization(0.0, (0.5, 0.5), value_range=(0, 255)),
        ],
        [1.0, 1.0, 0.8, 0.2, 0.55, 0.1],
    )


def recipes():
    images = photographs(4 * BATCH, 256, 256)
    return {
        "2 x 224 (two views a sample)": {
            "MultiView": Stream(images, MultiView.resnet()),
            "MultiView, sizes not known": Stream(
                images, _of_unknown_size(MultiView.resnet()), batched=False
            ),
            "MultiView(faithful=True)": Stream(
                images, MultiView.resnet(faithful=True)
            ),
            "keras-cv": Stream(images, keras_cv_chain()),
            "Keras": Stream(images, keras_chain()),
            "Pillow": Pillow(images),
        },
        "2 x 224 + 6 x 96 (eight views a sample)": {
            "MultiView": Stream(images, MultiView.convnext()),
            "MultiView(faithful=True)": Stream(
                images, MultiView.convnext(faithful=True)
            ),
        },
        "scenes, 2 x 48 of 64 x 64": {
            "MultiView": Stream(_scenes(), MultiView.scenes()),
            "MultiView(faithful=True)": Stream(
                _scenes(), MultiView.scenes(faithful=True)
            ),
        },
        "JPEG files of 500 x 375, decoded, 2 x 224": {
            "MultiView": Jpegs(MultiView.resnet()),
            "MultiView(faithful=True)": Jpegs(MultiView.resnet(faithful=True)),
            "decoding only": Jpegs(lambda example: tf.shape(example["images"])),
        },
    }


def layers():
    images = photographs(4 * BATCH, 256, 256)
    small = photographs(4 * BATCH, 224, 224)
    cv = keras_cv.layers
    pairs = {
        "crop, flip and resize": (
            images,
            RandomResizedCrop(224, 224, flip=0.5),
            cv.RandomCropAndResize((224, 224), (0.08, 1.0), (3 / 4, 4 / 3)),
        ),
        "colour jitter": (
            small,
            ColorJitter(probability=1.0),
            cv.RandomColorJitter((0, 255), 0.4, 0.4, 0.2, 0.1),
        ),
        "grayscale": (small, RandomGrayscale(1.0), cv.Grayscale(3)),
        "blur": (
            small,
            RandomGaussianBlur(probability=1.0),
            cv.RandomGaussianBlur(23, (0.1, 2.0)),
        ),
        "solarise": (
            small,
            RandomSolarize(probability=1.0),
            cv.Solarization((0, 255), 0, (128, 128)),
        ),
    }
    tables = {}
    for name, (inputs, ours, theirs) in pairs.items():
        tables[f"{name} (single layer)"] = {
            "ours": Stream(inputs, ours),
            "keras-cv": Stream(
                inputs,
                lambda example, layer=theirs: layer(
                    tf.cast(example["images"], tf.float32)
                ),
            ),
        }
    return tables


def channels(on):
    """Images of other channels and depth, with the crops of `resnet`."""
    images = photographs(4 * BATCH, 256, 256)
    grey = images[..., :1].astype("uint16") * 257
    four = np.concatenate([images, images[..., 1:2]], axis=-1)
    make = Stream if on == "host" else OnDevice
    few = {"gamma": 0.0, "noise": 0.0}  # as RGB, which has neither

    def recipe(count, value_range=None, **options):
        return MultiView.for_channels(
            count,
            scale=(0.08, 1.0),
            value_range=value_range,
            on=on,
            **options,
        )

    depth = (0, 65535)
    return {
        f"2 x 224, {on}": {
            "RGB of uint8, MultiView.resnet": make(
                images, MultiView.resnet(on=on)
            ),
            "1 channel of uint16": make(grey, recipe(1, depth)),
            "1 channel of uint16, no gamma, no noise": make(
                grey, recipe(1, depth, **few)
            ),
            "4 channels of uint8": make(four, recipe(4)),
            "4 channels of uint8, no gamma, no noise": make(
                four, recipe(4, **few)
            ),
        }
    }


def _of_unknown_size(layer):
    def function(example):
        image = tf.ensure_shape(
            tf.raw_ops.PlaceholderWithDefault(
                input=example["images"], shape=[None, None, 3]
            ),
            [None, None, 3],
        )
        return layer({**example, "images": image})

    return function


def _scenes():
    return digit_scenes("train", 4 * BATCH)["images"]


def measure(contestants, rounds, samples):
    """Samples per second of the processor, a list of rounds each."""
    for contestant in contestants.values():
        contestant.run(BATCH)  # traces and compiles
    speeds = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, contestant in contestants.items():
            start = time.process_time()
            done = contestant.run(samples)
            speeds[name].append(done / (time.process_time() - start))
    return speeds


TABLES = {
    "recipes": recipes,
    "layers": layers,
    "channels": lambda: channels("host"),
    "device": lambda: channels("device"),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=4 * BATCH)
    parser.add_argument("--only", choices=sorted(TABLES))
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    chosen = [arguments.only] if arguments.only else TABLES
    tables = {}
    for name in chosen:
        tables |= TABLES[name]()
    print("| what | who | samples/s a core | of the first |")
    print("|---|---|---:|---:|")
    for title, contestants in tables.items():
        speeds = measure(contestants, arguments.rounds, arguments.samples)
        first = next(iter(speeds.values()))
        for name, own in speeds.items():
            ratio = statistics.median(
                a / b for a, b in zip(own, first, strict=True)
            )
            print(
                f"| {title} | {name} | {statistics.median(own):,.0f} | "
                f"{ratio:.3g} x |",
                flush=True,
            )


if __name__ == "__main__":
    main()
