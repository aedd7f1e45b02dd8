"""
Title: Pretraining on your own images
Author: The keras_vicregl authors
Date created: 2026/11/25
Last modified: 2026/11/25
Description: A folder of images and one GPU: views, small batches, collapse, and going on after a stop.
Accelerator: GPU
"""

"""
VICRegL needs images and no labels. This page pretrains on the files of a
folder, looks at what has to be changed when images are few, small or oblong
and batches fit one GPU, and shows how to see that a training goes wrong.

It runs on a CPU in minutes, since the folder is filled with small scenes of
digits first. Put your own in its place.
"""

import functools
import importlib.util
import os
import pathlib
import signal
import tempfile
import warnings

# Any of the three that is installed.
backends = filter(importlib.util.find_spec, ("tensorflow", "jax", "torch"))
os.environ.setdefault("KERAS_BACKEND", next(backends))

import keras
import numpy as np

from keras_vicregl.data import digit_scenes, load, view_batches
from keras_vicregl.evaluation import evaluate_linear
from keras_vicregl.losses import (
    covariance_loss,
    location_distances,
    match,
    variance_loss,
)
from keras_vicregl.optimizers import warmup_cosine
from keras_vicregl.recipes import RECIPES
from keras_vicregl.training import TrainingInterrupted, pretrain, read_rows
from keras_vicregl.views import MultiView, ViewGroup
from keras_vicregl.views.geometry import positions
from keras_vicregl.visualization import plot_curves, plot_matches

# Tests run this page with few images and epochs.
short = "GUIDES_SHORT" in os.environ
work = pathlib.Path(tempfile.mkdtemp())

"""
## The images

JPEG, PNG, GIF, BMP or WebP, in one folder or in folders of folders, of any
size: here each file has a size and an aspect ratio of its own.
"""


def write_photographs(folder, count):
    """Scenes of digits as JPEG files of 64 to 96 px a side."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    scenes = digit_scenes("train", count, size=96)["images"]
    for index, scene in enumerate(scenes):
        height, width = rng.integers(64, 97, 2)
        keras.utils.save_img(folder / f"{index:04}.jpg", scene[:height, :width])


write_photographs(work / "photographs", 64 if short else 2000)
images = load(work / "photographs", cache=True)
print(len(images), "images")

"""
`cache=True` keeps the contents of the files in memory after the first epoch.
`on_error="skip"` goes on where a file is damaged. A data set of TFDS differs in
this line alone: `load("imagenet2012", "train")`.

## The views

A training example is a pair of crops of one image, with their colours changed.
`MultiView.resnet()` makes the paper's, two of 224 px; here two of 48 px suit
images of 64 to 96 px. Look at some before you train: what you want the
network to know must be in both crops, and visible.

With `on="device"` the model makes the views, on its GPU, from whole images on a
canvas, and the processor only reads files; `render` shows what the model sees.
The canvas makes room for the largest image. Without `on`, TensorFlow makes the
views on the processor, whichever backend trains.
"""

batch_size = 16 if short else 64
views = MultiView.scenes(size=48, on="device")
make_batches = functools.partial(
    view_batches, images, views, batch_size=batch_size, seed=0
)


def matched_views(count=3, map_shape=(6, 6)):
    """Pairs of views, and the positions in them that belong together."""
    (drawn,) = next(iter(make_batches()))
    batch = keras.tree.map_structure(
        keras.ops.convert_to_numpy, views.render(drawn)
    )
    first, second = (
        positions(to_source[:count], *map_shape)
        for to_source in batch["view_to_source"]
    )
    queries, neighbours, _ = match(location_distances(first, second), 12)
    return plot_matches(
        tuple(view[:count] for view in batch["views"]),
        keras.ops.convert_to_numpy(queries),
        keras.ops.convert_to_numpy(neighbours),
        (map_shape, map_shape),
    )


matched_views()

"""
Lines connect the twelve closest of the 36 positions that feature maps of
6 x 6 have. They follow crops and flips, as each view carries its map to the
pixels of its image. So nothing has to be told of sizes and aspect ratios: the
model knows neither.

Views need not be square either. For panoramas or documents, give the crops the
shape of what is in them: `size` is the view's height and width, `aspect_ratio`
the range of the box's width / height in the image.
"""

oblong = MultiView(
    [ViewGroup((32, 64), count=2, scale=(0.25, 1.0), aspect_ratio=(1.5, 2.5))]
)
recipe = RECIPES["scenes"]
model = recipe.make_model()
views_shape = (batch_size, *oblong.groups[0].size, 3)
print(model.backbone.compute_output_shape(views_shape))

"""
Views of 32 x 64 px give 4 x 8 positions, and the model does the rest.

Where there are few positions, lower `num_matches`, the number of pairs that
the location criterion keeps. Its default, `(20, 4)`, is for maps of 7 x 7; this
is the recipe for CIFAR-10, whose maps are 3 x 3:
"""

print(RECIPES["cifar10"].model["num_matches"])

"""
## Small batches

VICReg's terms are statistics of a batch, and a statistic of few samples is
noise. Take perfect embeddings, independent channels with variance one: their
covariances are zero, but the term `cov` that a batch of B of them gives is about
(D - 1) / (B - 1), D being the width of the expander. `var`, the hinge below a
standard deviation of one, is not zero either.
"""


def noise(batch_size, width, repeats=1):
    """Means of `cov` and `var` of perfect embeddings over some batches."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(repeats, batch_size, width)).astype("float32")
    return float(covariance_loss(draws)), 25 * float(variance_loss(draws))


width = 512 if short else 8192
print(f"{'batch':>11} {'width':>6} {'cov':>7} {'(D-1)/(B-1)':>12} {'var':>6}")
for size, channels, repeats in (
    (2048, width, 1),
    (256, width, 1),
    (64, width, 1),
    (64, width, 4),
    (64, width // 32, 1),
):
    cov, var = noise(size, channels, repeats)
    floor = (channels - 1) / (size - 1)
    name = f"{repeats} x {size}"
    print(f"{name:>11} {channels:>6} {cov:7.1f} {floor:12.1f} {var:6.2f}")

"""
The first row is the paper's batch and expander. With a batch of 64 the same
expander has a term more than thirty times as large that says nothing about the
network. What follows from that:

- Keep D / B: a narrower expander (last row) has the paper's noise again.
  `VICRegL(backbone, expander_units=(256, 256, 256))`, or a lower
  `covariance_coefficient`.
- Accumulating gradients over four batches (`gradient_accumulation_steps=4`) is
  not a batch four times as large: the terms are those of the small batches, as
  the fourth row says. It averages gradients, no more.
- A larger batch fits in the same memory with `precision="mixed_bfloat16"` and
  with `remat=True`, which computes the inside of the backbone's blocks twice
  instead of keeping it. Both are arguments of `recipe.make_model`.
- Learning rates are for a batch of 256 and grow with the batch.
  `recipe.make_optimizer(steps_per_epoch, batch_size)` sees to it, accumulated
  batches included.
"""

one_gpu = RECIPES["resnet50_one_gpu"]
for size in (64, one_gpu.batch_size):
    schedule = warmup_cosine(
        one_gpu.base_learning_rate, size, steps_per_epoch=1000, epochs=100
    )
    # The warm-up ends after 10 epochs.
    print(f"batch {size}: learning rate {float(schedule(10_000)):.3f}")

"""
## Few images

An epoch of few images is a few steps. What counts is the number of steps, so
choose the epochs by it.
"""

batches = make_batches()
print(f"{len(images)} images, {len(batches)} steps an epoch")
print(f"10,000 steps are {10_000 // len(batches)} epochs")

"""
Nor need they be all that the backbone ever sees: `VICRegL(backbone, ...)` goes
on from whatever weights it has, such as those of the paper,
`backbone("resnet50", weights="resnet50_alpha0.9")` (their licence is
CC-BY-NC), or those of any Keras model that `as_backbone` takes.

## Train, and stop, and go on

`pretrain` is `fit` with logs and checkpoints in a folder. In a terminal it
shows where it is, in one line, which `verbose=0` leaves out here:

```text
3/60 120/420 loss 27.2 inv 2.13/7.70 var 19.7/34.8 cov 0.0722/0.256 412 img/s wait 3% 2h05m left
```

That is epoch 3 of 60 after 120 of 420 steps; after the slashes are the local
terms. 412 images - not views - were trained a second, and in 3% of the time
nothing was computed because data had not come: where that is much, a faster
disk, more cores or views made on the device help, and a faster GPU does not. In
files and notebooks there is such a line at the end of each epoch.
"""

epochs = 2 if short else 6
train = functools.partial(
    pretrain,
    make_batches=make_batches,
    epochs=epochs,
    output=work / "run",
    verbose=0,
)
keras.utils.set_random_seed(0)
model = recipe.make_model(views=views)
model.compile(recipe.make_optimizer(len(batches), batch_size, epochs))
untrained = model.backbone.get_weights()

"""
Ctrl-C, or the SIGTERM of a cluster that wants its machine back, stop it at the
next step with everything saved, and say at once that they were heard. This
callback presses Ctrl-C in the middle of the first epoch.
"""

half = len(batches) // 2
ctrl_c = keras.callbacks.LambdaCallback(
    on_train_batch_begin=lambda batch, logs: (
        signal.raise_signal(signal.SIGINT) if batch == half else None
    )
)
try:
    train(model, callbacks=[ctrl_c])
except TrainingInterrupted as interruption:
    print("A script would exit with", interruption.exit_code)

"""
The same call goes on from the checkpoint, in a new process as well: weights,
optimizer, random numbers and the position in the data are those of a training
that was never interrupted, and so are the logs: to the last bit where two
uninterrupted trainings are alike to the last bit, for which
`keras_vicregl.distribution.deterministic()` is the switch.
"""

history = train(model)
for row in read_rows(work / "run/events.jsonl"):
    print({key: row[key] for key in ("event", "epoch", "step") if key in row})

"""
The logs have a row an epoch in `epochs.jsonl`, which is also what `pretrain`
returns. How fast it went is in the events of epochs alone, since no two runs
are alike in that: `images_per_second`, `waited` as a share, `peak_memory` in
bytes on GPUs and TPUs, `seconds_left`.
"""

plot_curves(history)

"""
The terms have their coefficients on them, 25, 25 and 1. `inv` alone says
little: it is smallest when all images look alike. What was learnt shows in
labelled images, if you have some. Here a linear classifier of the largest digit
looks at the frozen features, before and after these few hundred steps.
"""

labelled = digit_scenes("train", 100 if short else 2000, seed=1)
unseen = digit_scenes("test", 50 if short else 1000)
random_backbone = recipe.make_model().backbone
random_backbone.set_weights(untrained)
for name, backbone in {
    "random": random_backbone,
    "pretrained": model.backbone,
}.items():
    accuracy = evaluate_linear(backbone, labelled, unseen)["top1"]
    print(f"{name:>10}: {accuracy:.1%}")

"""
## How to see collapse

A training without the two terms that keep embeddings apart. The expander has
layer normalisation here: batch normalisation pulls vectors apart whatever they
are, and would hide some of it.
"""

keras.utils.set_random_seed(0)
broken = recipe.make_model(
    variance_coefficient=0,
    covariance_coefficient=0,
    normalization="layer",
    views=views,
)
broken.compile(recipe.make_optimizer(len(batches), batch_size, epochs))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    collapsed = pretrain(
        broken,
        make_batches,
        epochs=min(epochs, 3),
        output=work / "broken",
        verbose=0,
    )

channels = {
    "repr": model.backbone.output_shape[-1],
    "emb": model.expander_units[-1],
}
print(f"{'last epoch':>19} {'as it should be':>16} {'collapsed':>10}")
for kind, size in channels.items():
    for name, factor in ((f"{kind}_std", size**0.5), (f"{kind}_corr", 1.0)):
        label = f"{name} * {size}^0.5" if factor > 1 else name
        rows = [factor * logs[name][-1] for logs in (history, collapsed)]
        print(f"{label:>19} {rows[0]:16.3f} {rows[1]:10.3f}")

"""
`repr` are the pooled features of the backbone, `emb` the embeddings of the
expander. `std` is the spread of vectors of length one, 1 / sqrt(D) where they
point in all directions: times sqrt(D) it should be well above 0.1. `corr` is
the mean correlation between channels and should stay near 0. The backbone has
batch normalisation and shows nothing of the collapse of `emb`. `pretrain` looks
at all four and warns:
"""

for warning in caught:
    if "collapse" in str(warning.message):
        print(warning.message)

"""
With the terms in place, `var` tells as well. Embeddings that are all equal have
this, and the local term counts once for each of the two criteria:
"""

constant = np.ones((64, 512), "float32")
print(f"var {25 * float(variance_loss(constant)):.2f}")
print(f"local_var {2 * 25 * float(variance_loss(constant)):.2f}")

"""
A run whose `var` stays there has learnt nothing: its embeddings are all alike.

## Other images than photographs

Microscopy, X-rays and satellites have one channel or thirteen, of 12 or 16 bits
or of floating point. They go in as they are; what has to be known is which
values are black and white. `channel_statistics` looks at the images once:

```python
images = load("cells/")  # 16-bit TIFF files
statistics = channel_statistics(images, examples=1000)
views = MultiView.for_channels(statistics, size=96)
batches = view_batches(images, views, batch_size=256, seed=0)
shape = (None, None, images.channels)
model = VICRegL(backbone("resnet50", input_shape=shape))
```

A low and a high percentile of each channel become 0 and 1, and what is beyond
is clipped: a few hot pixels do not make all others dark.
`value_range=(0, 4095)` says it where it is known. `for_channels` changes
brightness, contrast, gamma, noise and sharpness, for all channels alike or with
`per_channel=True` for each; colours and solarising are for photographs. Range,
mean and deviation are kept with the backbone, so that evaluations and
`export(model.backbone, path, preprocessing=True)` take raw values too.

What can be read, and how:

| images | |
|---|---|
| TIFF (with `pip install "keras-vicregl[tiff]"`), PNG of 16 bits, `.npy` files `(H, W, C)` or `(H, W)` | `load("folder/")` |
| TIFF of several pages | `load("folder/", pages="channels")`, or `"examples"` |
| a `.npy` file of all `(N, H, W, C)`, or any array, mapped from a file or not | `load("cells.npy")`, `load(array)` |
| any other file | `load("folder/", read=function)` |
| no files | a class derived from `ImageSource` |

`read` takes a path and returns `(H, W, C)` or `(H, W)` of uint8, uint16 or
float32, channels last. It is tried on one file by `load`, which tells what is
wrong with it, and is then called by several threads at once, with TensorFlow
and without: so open what you read in it. Some readers:

```python
def read_dicom(path):  # pydicom; CT has values below 0
    slice_ = pydicom.dcmread(path)
    return pydicom.pixels.apply_modality_lut(
        slice_.pixel_array, slice_
    ).astype("float32")


def read_bands(path):  # rasterio: GeoTIFF, JPEG 2000, whatever GDAL reads
    with rasterio.open(path) as file:
        return np.moveaxis(file.read([4, 3, 2, 8]), 0, -1)


def read_hdf5(path):  # h5py; a file an image
    with h5py.File(path) as file:
        return file["image"][()].astype("float32")


def read_photograph(path):  # Pillow: AVIF; HEIC with pillow-heif, once
    image = PIL.ImageOps.exif_transpose(PIL.Image.open(path))
    return np.asarray(image.convert("RGB"))


scans = load("scans/", read=read_dicom, on_error="skip", time_limit=60)
```

Before HEIC is read, `pillow_heif.register_heif_opener()` tells Pillow how.
Values that are not finite are refused: `np.nan_to_num` in `read` says what they
are to be. One HDF5 file with all images is no file an image; a few lines are
its source:

```python
class Slices(ImageSource):
    def __init__(self, path):
        self._slices = h5py.File(path)["slices"]  # (N, H, W), uint16
        super().__init__("slices", len(self._slices))

    def example(self, index):
        return {"images": self._slices[index][..., None]}
```

All images of a source have the same channels and dtype, `images.channels` and
`images.dtype`. `load(..., channels=3)` makes three of one where grey and
coloured files meet, `channels=1` grey values of pictures. `cache=True`, or a
folder, keeps what `read` returned.

To look at such views, `plot_matches(..., bands=(3, 2, 1))` shows three
channels, stretched, and `bands=0` one of them in grey.

## From the shell

The command that comes with the package trains, stops and goes on in the same
way. Of a folder alone it chooses a recipe and a batch, by the number and size of
the images and the memory, and says why:

```shell
keras-vicregl pretrain my_images/
```

(In a clone of the repository, `python examples/pretrain.py my_images/`.) It
takes the folders in it that `--split` names, as `train+val`, by default `train`
where there is one; anything of a recipe can be said in another way:

```shell
keras-vicregl pretrain my_images/ --recipe resnet50_one_gpu --epochs 300 \
    --model expander_units=[1024,1024,1024] --views size=192
```

With a folder a class in `my_images/train/` and `my_images/test/`,
`--evaluate knn --evaluate-every 5` logs the accuracy of nearest neighbours.

## Without TensorFlow

This page runs without TensorFlow as it stands: Pillow decodes the files then,
in threads, and the model makes the views. The command does so by itself, and
elsewhere with `--views on=device`. Order and views of a seed are the same with
and without it, so that a run may go on on another machine. Images larger than
512 px are made smaller to fit, unless `view_batches(canvas=(height, width))`
makes room for them: a canvas costs memory on the device for every image,
however small. Evaluations need nothing else.

A data set and a loader of yours, with crops of their own or not: [Your own
loader](your_own_loader.md). Several GPUs or machines: [Pretraining on many
devices](distributed_pretraining.md). What to do with the backbone: [Export and
use](export_and_use.md).
"""

model.backbone.save(work / "backbone.keras")
