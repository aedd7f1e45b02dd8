"""
Title: Your own loader
Author: The keras_vicregl authors
Date created: 2026/11/27
Last modified: 2026/11/27
Description: A PyTorch DataLoader with crops and flips of your own, and your own images with views on the device.
Accelerator: GPU
"""

"""
`load` and `view_batches` read folders, arrays and TFDS. Where you have a data
set and a loader already - a PyTorch `DataLoader`, say, with crops of its own -
keep them: `fit` and `pretrain` take whatever yields batches of the form below,
on each backend. This page has two ways. Either the loader makes the views and
says where they are from, or it reads images and the model makes the views.

It runs on a CPU in a minute, on small scenes of digits.
"""

import importlib.util
import os
import pathlib
import signal
import tempfile

# Any of the three that is installed.
backends = filter(importlib.util.find_spec, ("torch", "jax", "tensorflow"))
os.environ.setdefault("KERAS_BACKEND", next(backends))

import keras
import numpy as np

from keras_vicregl import distribution
from keras_vicregl.data import digit_scenes
from keras_vicregl.recipes import RECIPES
from keras_vicregl.training import TrainingInterrupted, pretrain, read_rows
from keras_vicregl.views import MultiView
from keras_vicregl.views.numpy_geometry import (
    compose,
    crop_map,
    flip_map,
    identity_map,
    positions,
)

try:
    import torch
except ImportError:
    torch = None
    print("PyTorch is not installed: what needs its DataLoader is left out.")

# Tests run this page with few images.
short = "GUIDES_SHORT" in os.environ
work = pathlib.Path(tempfile.mkdtemp())
images = digit_scenes("train", 16 if short else 256, size=96)["images"]
batch_size = 4 if short else 32
workers = 0 if short else 2

"""
## What a batch is

| key | what | shape |
|---|---|---|
| `"views"` | a tuple of V views, normalised, channels last; the first two are the large ones | V times (B, h, w, 3), float |
| `"view_to_source"` | a tuple of V maps, from the view to the pixels of its source image | V times (B, 2, 3), float |
| `"source_size"` | height and width of the source images; only for `max_distance_unit="diagonal"` | (B, 2), float |

Such a dictionary is a batch, alone or in a tuple or list with integer labels
(B,), as `default_collate` makes it of `(dictionary, label)` too. Tensors of
PyTorch may be in it under JAX and TensorFlow. In place of `"views"` and
`"view_to_source"` there may be `"images"` and `"parameters"`, of which the
second way is.

`view_to_source` takes normalised coordinates of the view, (u, v) in [0, 1]^2
with u to the right and v down, to pixels (x, y) of the source image. It is all
that the location criterion needs to know of a crop, and it is a matrix: maps of
what is done one after the other are multiplied, by `compose`.
`keras_vicregl.views.numpy_geometry` makes them of boxes and flips. It is NumPy
alone, so that worker processes may call it: the functions of the same name in
`views.geometry` make tensors on the default device, and forked workers and GPUs
do not mix.

## The first way: crops of your own

Each view is a box of the image, resized, and mirrored or not. What is drawn
depends on the seed, the epoch and the index of the image and on nothing else -
neither on workers, nor on what was drawn before - so that a training can go on
exactly where it was stopped.
"""

VIEW = (48, 48)
MEAN = np.float32([0.485, 0.456, 0.406])
STD = np.float32([0.229, 0.224, 0.225])


def random_box(rng, size):
    """Top, left, height and width of a box of a quarter of the image or more."""
    sides = np.round(np.sqrt(rng.uniform(0.25, 1.0)) * np.array(size))
    corner = np.floor(rng.uniform(size=2) * (size - sides + 1))
    return np.concatenate([corner, sides]).astype(int)


def view_of(image, box, flipped):
    """The view of a box, float32 of the pixels' range."""
    top, left, height, width = box
    cut = image[top : top + height, left : left + width].astype("float32")
    cut = torch.from_numpy(cut).permute(2, 0, 1)[None]
    view = torch.nn.functional.interpolate(
        cut, VIEW, mode="bilinear", antialias=True
    )
    view = view[0].permute(1, 2, 0).numpy()
    return view[:, ::-1] if flipped else view


def map_of(box, flipped, size):
    """From coordinates of the view to pixels of the image."""
    of_box = compose(crop_map(box, size), flip_map(flipped))
    return compose(identity_map(size), of_box)


class Crops:
    """Two views of an image: what a DataLoader calls a map-style data set."""

    def __init__(self, images, seed=0, mean=MEAN, std=STD):
        self.images, self.seed = images, seed
        self.mean, self.std = mean, std

    def __len__(self):
        return len(self.images)

    def __getitem__(self, key):
        epoch, index = key
        image = self.images[index]
        size = np.array(image.shape[:2])
        rng = np.random.default_rng((self.seed, epoch, index))
        views, maps = [], []
        for _ in range(2):
            box, flipped = random_box(rng, size), rng.random() < 0.5
            pixels = view_of(image, box, flipped) / 255
            views.append((pixels - self.mean) / self.std)
            maps.append(map_of(box, flipped, size))
        return {
            "views": tuple(views),
            "view_to_source": tuple(maps),
            "source_size": np.float32(size),
        }


"""
Normalise what you yield, by the mean and deviation of the channels on a scale
of [0, 1]: evaluation and export use these of ImageNet where nothing else is
said, and take others as `mean` and `std`. Views that are uint8, or lie in
[0, 1] or [0, 255], are told of at the first batch.

The order is a sampler's. It gives the data set pairs of an epoch and an index,
and moves on to the next epoch when one has passed. `start` is where it begins,
`shard` which of several processes it is for.
"""


class Epochs:
    """Batches of (epoch, index), in an order of each epoch's own."""

    def __init__(self, count, batch_size, shard=(0, 1), start=(0, 0), seed=0):
        self.count, self.batch_size, self.seed = count, batch_size, seed
        self.steps = count // batch_size
        self.epoch, self.step = start
        process, processes = shard
        share = batch_size // processes
        self.rows = slice(process * share, (process + 1) * share)

    def __len__(self):
        return self.steps - self.step

    def __iter__(self):
        rng = np.random.default_rng((self.seed, self.epoch))
        order = rng.permutation(self.count)
        epoch, first = self.epoch, self.step
        for step in range(first, self.steps):
            batch = order[step * self.batch_size :][: self.batch_size]
            yield [(epoch, int(index)) for index in batch[self.rows]]
        self.epoch, self.step = epoch + 1, 0


def make_batches(batch_size, shard=(0, 1), start=(0, 0), data=None):
    """The loader of a training that begins at an epoch and a step."""
    data = Crops(images) if data is None else data
    sampler = Epochs(len(data), batch_size, shard, start)
    return torch.utils.data.DataLoader(
        data,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=getattr(data, "collate", None),
    )


"""
A batch that is asked for is the one that an uninterrupted run has there:
"""

if torch is not None:
    whole = [*make_batches(batch_size)]
    late = next(iter(make_batches(batch_size, start=(0, 2))))
    print(len(whole), "batches, of views", tuple(late["views"][0].shape))
    print("the third is", torch.equal(late["views"][1], whole[2]["views"][1]))

"""
## Are the maps right?

A wrong map is an error that no loss tells. Here is how to see it, with any
loader: give it an image whose pixels are their own coordinates. What a view
shows is then where it says that it is from. (Not at the edges, beyond which
nothing is interpolated.)
"""


def largest_error(batch, edge=4):
    """Pixels between what views show and what their maps say."""
    errors = []
    for view, to_source in zip(
        batch["views"], batch["view_to_source"], strict=True
    ):
        height, width = view.shape[1:3]
        said = positions(to_source, height, width)
        said = said.reshape(-1, height, width, 2)
        inner = (slice(None), slice(edge, -edge), slice(edge, -edge))
        seen = np.asarray(view)[..., :2]
        errors.append(np.abs(seen - said)[inner].max())
    return max(errors)


def coordinates(height, width):
    """An image of the centres of its pixels, (x, y, 0)."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.stack([x, y, np.zeros_like(x)], axis=-1).astype("float32")


if torch is not None:
    # Pixels as they are.
    as_they_are = {"mean": np.float32(0), "std": np.float32(1 / 255)}
    ramps = Crops([coordinates(80, 96)] * 16, **as_they_are)
    error = max(map(largest_error, make_batches(4, data=ramps)))
    print(f"largest error: {error:.3f} pixels")

"""
Half a pixel, the usual mistake, would be 0.5, and a flip that the map does not
know is dozens. (What is left is the kernel of antialiasing, whose weights are not
exactly balanced.)

## Train, stop, and go on

`pretrain` takes a function of `start`. A callback presses Ctrl-C in the middle
of the first epoch; the same call goes on with the batches that are left, in a
new process as well.
"""

recipe = RECIPES["scenes"]


def train(model, make_batches, folder, **options):
    """Two epochs, or what is left of them."""
    return pretrain(
        model, make_batches, epochs=2, output=folder, verbose=0, **options
    )


def ctrl_c_at(step):
    """A callback that presses Ctrl-C before a step."""
    return keras.callbacks.LambdaCallback(
        on_train_batch_begin=lambda batch, logs: (
            signal.raise_signal(signal.SIGINT) if batch == step else None
        )
    )


if torch is not None:
    setup = distribution.auto()
    keras.utils.set_random_seed(0)
    with setup.scope():
        model = recipe.make_model()
        model.compile(keras.optimizers.AdamW(1e-3))
    batches = setup.batches(make_batches, batch_size)
    try:
        train(model, batches, work / "crops", callbacks=[ctrl_c_at(2)])
    except TrainingInterrupted as interruption:
        print("A script would exit with", interruption.exit_code)
    history = train(model, batches, work / "crops")
    for row in read_rows(work / "crops/events.jsonl"):
        print(
            {key: row[key] for key in ("event", "epoch", "step") if key in row}
        )
    print("losses of the epochs:", [round(loss, 1) for loss in history["loss"]])

"""
What a loader must do for that: yield the same batches for the same `start`,
begin the next epoch with each iteration, and know its length (or pretrain is
told `steps_per_epoch`). A generator works too, as long as it goes on for all
epochs; so does a `keras.utils.PyDataset`, which needs no PyTorch.

Under JAX, forking workers once JAX is used warns of deadlocks. Workers that
touch NumPy and PyTorch's CPU tensors alone have had none here; with
`multiprocessing_context="forkserver"` there is no fork of that process, but
data set and sampler have to be in a module of their own.

## The second way: your images, views on the device

The loader reads images, uint8 and of any sizes, and the model makes the views
in its compiled step: crops, flips, colours, blur, on the GPU. `MultiView.inputs`
is all that stands between. It draws what is to be done for each image from its
seeds, here epoch and index, with NumPy alone, so that workers may call it.
Images of different sizes are put on a `canvas`, which the views do not see.
"""

views = MultiView.scenes(size=48, on="device")


class Photographs:
    """Images of sizes of their own, each with what its views are drawn by."""

    def __init__(self, images):
        rng = np.random.default_rng(0)
        self.images = [
            image[: rng.integers(64, 97), : rng.integers(64, 97)]
            for image in images
        ]

    def __len__(self):
        return len(self.images)

    def __getitem__(self, key):
        epoch, index = key
        return self.images[index], (epoch, index)

    @staticmethod
    def collate(examples):
        """A batch as `fit` takes it."""
        read, seeds = zip(*examples, strict=True)
        return views.inputs(list(read), seeds, canvas=(96, 96))


class Sequence(keras.utils.PyDataset):
    """The same batches without PyTorch, in the order of a sampler."""

    def __init__(self, data, sampler):
        super().__init__()
        self.data, self.sampler = data, sampler
        self.on_epoch_end()

    def on_epoch_end(self):
        self.keys = [*self.sampler]

    def __len__(self):
        return len(self.keys)

    def __getitem__(self, step):
        return self.data.collate([self.data[key] for key in self.keys[step]])


photographs = Photographs(images)
if torch is not None:
    own = make_batches(batch_size, data=photographs)
else:
    own = Sequence(photographs, Epochs(len(photographs), batch_size))
on_device = recipe.make_model(views=views)
on_device.compile(keras.optimizers.AdamW(1e-3))
on_device.fit(own, verbose=0)
print("steps:", int(on_device.optimizer.iterations))

"""
Where all images fit into memory and are of one size,
`keras_vicregl.data.ArrayBatches` is this loader, ready made.

## Many processes

```shell
torchrun --nproc-per-node 8 train.py
```

With `setup = distribution.auto()` and `setup.batches(make_batches, batch_size)`,
as above, the same script trains on all of them. `setup.batches` calls
`make_batches` with those of three arguments that it takes:

- `batch_size`: examples in a batch of all processes;
- `shard=(process, processes)`: which share of each batch is wanted, rows
  `process * batch_size / processes` and on;
- `start=(epoch, step)`.

One that takes no `shard` shares out batches itself, as with PyTorch's
`DistributedSampler`. Shares of another size are an error at the first batch, and
so are first batches that are the same in two processes, which would train on
duplicates without a word. [Pretraining on many
devices](distributed_pretraining.md) says more.
"""

if torch is not None:
    shares = [make_batches(batch_size, shard=(part, 2)) for part in range(2)]
    parts = [next(iter(share))["views"][0] for share in shares]
    print(
        "two shares are the batch:",
        torch.equal(torch.cat(parts), whole[0]["views"][0]),
    )
