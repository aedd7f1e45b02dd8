"""
Title: Industrial images: one channel, small defects, few labels
Author: The keras_vicregl authors
Date created: 2026/11/28
Last modified: 2026/11/28
Description: Solar cells under electroluminescence, split by modules; and four bands of 16 bits, to the exported model.
Accelerator: None
"""

"""
A camera over a production line takes pictures by the thousand: grey, of 8 to 16
bits, nearly all alike, and what matters in them is a crack of a few pixels.
Nobody has labelled them. This page pretrains on such pictures, and measures
what that is worth.

They are 2,624 solar cells under electroluminescence, of 300 x 300 pixels and
one channel, each with the probability of a defect as an expert saw it, and with
its kind, mono- or polycrystalline. `pip install elpv-dataset` brings them, under
the licence CC BY-NC-SA 4.0 (Buerhop-Lutz et al., 2018; Deitsch et al., 2019 and
2021): so none of them is shown on this page. What is shown here, and what the
tests run this page with, are cells made from a formula.
"""

import importlib.util
import os
import pathlib
import sys
import tempfile

# Any of the three that is installed.
backends = filter(importlib.util.find_spec, ("tensorflow", "jax", "torch"))
os.environ.setdefault("KERAS_BACKEND", next(backends))
# From the folder of the repository, or from `guides`.
sys.path += [
    path for path in ("examples", "../examples") if os.path.isdir(path)
]

import keras
import matplotlib.pyplot as plt
import numpy as np
import solar_cells as study
from _elpv import SPLITS, even, part, read_cells, stand_in

from keras_vicregl import backbone
from keras_vicregl.checkpoints import export, load_backbone
from keras_vicregl.data import channel_statistics, load, view_batches
from keras_vicregl.evaluation import (
    evaluate_knn,
    evaluate_linear,
    extract_features,
)
from keras_vicregl.models import VICRegL
from keras_vicregl.optimizers import AdamW
from keras_vicregl.training import pretrain
from keras_vicregl.views import MultiView
from keras_vicregl.visualization import plot_ablation, plot_curves

keras.utils.set_random_seed(0)
work = pathlib.Path(tempfile.mkdtemp())
SHORT = "GUIDES_SHORT" in os.environ  # for the tests: no package, no network
cells = stand_in() if SHORT else read_cells()
print(cells["images"].shape, cells["images"].dtype)

"""
`read_cells` is `load(files, channels=1)` and the labels of a table: pictures of 8
bits become RGB, unless `channels` says otherwise. TIFF, `.npy` and PNG of 16 bits
would stay as they are.

## A split that is honest

Cells of one module were made, and photographed, together. If some are trained
on and others tested on, a network may know the module instead of the defect. The
data set has no split, and does not say which cell is of which module. But its
files seem to be in the order of modules: they are ten runs of one kind of cell,
whose lengths are those of 44 modules, 18 of them monocrystalline, if a module
has 60 cells - and so many modules there are, its authors write. (One module has
72, one 48, and two runs lack 6 and 10 cells.) So of each run the last quarter of
the modules is for the test, and a sixth before them is for validation. Cells at
a border that may be on either side of it, 32, are left out. `examples/_elpv.py`
has the lines.
"""

for name in SPLITS:
    chosen = cells["split"] == name
    print(
        f"{name:6}{chosen.sum():6} cells, "
        f"{100 * cells['is_poly'][chosen].mean():.0f} % polycrystalline, "
        f"{100 * cells['labels'][chosen].mean():.0f} % defective"
    )

"""
What can be claimed is this: figures are of modules that nobody trained on, if the
order is what it seems to be, but of neighbours in the list of those that were,
perhaps of the same make and the same day. Of another factory's modules they say
nothing. And there are 11 modules in the test: three seeds tell how much is due
to initial weights, order and the choice of labels, and not how much to the
choice of modules.

"Defective" is a probability above a half. Where two thirds are functional, a
network that always says so is right two times in three; so all figures are of
as many functional cells as defective ones, for which accuracy is balanced
accuracy, and chance is 50 %.

## Values and views

`channel_statistics` finds what the channel's values are - percentiles of them
as the range, or with a range that is known mean and deviation alone. Views of
one channel get brightness, contrast, gamma, noise and blur, but no colours.
"""

unlabelled = part(cells, "train", "val")["images"]
statistics = channel_statistics(unlabelled, value_range=(0, 255))
print(f"mean {statistics.pixel_mean[0]:.2f}, std {statistics.pixel_std[0]:.2f}")
views = MultiView.for_channels(
    statistics, size=96, scale=(0.1, 0.6), blur_sigma=(0.1, 1.0), on="device"
)

"""
Defects are small, so crops are small: a tenth to six tenths of a cell. With
`on="device"` the model makes the views, which needs no TensorFlow (the study
below has them made in tf.data). Cells from the formula, two with a crack, above
two views of each:
"""

made = stand_in(6, side=300)["images"][[0, 1, 3, 4]]
(drawn,) = views.inputs(made, seeds=[[0, index] for index in range(4)])
pairs = map(keras.ops.convert_to_numpy, views.render(drawn)["views"])
mean, std = views.normalization[:2]
rows = [made / 255, *(np.clip(pair * std + mean, 0, 1) for pair in pairs)]
_, axes = plt.subplots(3, 4, figsize=(8, 6.2), layout="constrained")
titles = ("cell from a formula", "first view", "second view")
for row, title, images in zip(axes, titles, rows, strict=True):
    row[0].set_ylabel(title)
    for axis, image in zip(row, images, strict=True):
        axis.imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
        axis.set(xticks=[], yticks=[])
plt.gcf()

"""
## Pretrain

A small ResNet of 0.3 million weights, whose first convolution takes one channel.
Here it sees every cell once, to show how; in the study below ten times, 300 steps
of 64 cells.
"""

source = load(unlabelled)
model = VICRegL(
    backbone(
        "small_resnet",
        widths=(16, 32, 64, 128),
        strides=(2, 2, 2, 1),
        input_shape=(None, None, 1),
    ),
    alpha=0.75,
    expander_units=(512, 512, 512),
    local_expander_units=(128, 128, 128),
    num_matches=(12, 12),
    views=views,
)
model.compile(AdamW(1e-3, weight_decay=1e-4))
history = pretrain(
    model,
    lambda start: view_batches(
        source, views, batch_size=16 if SHORT else 64, seed=0, start=start
    ),
    epochs=1,
    output=work / "run",
    verbose=0,
)
print({name: round(history[name][-1], 2) for name in ("loss", "emb_std")})

"""
The backbone now knows range, mean and deviation of its images, so evaluations
take them as they are. `even` takes as many functional cells as defective ones:
"""

features = [
    extract_features(
        model.backbone,
        even(part(cells, name)),
        size=160,
        resize=160,
        pooled=True,
    )
    for name in ("train", "test")
]
accuracy = evaluate_knn(None, *features)["top1"]
print(f"nearest neighbours: {100 * accuracy:.0f} % (chance: 50 %)")

"""
## What pretraining is worth

`python examples/solar_cells.py` does this with three seeds, and stores settings,
logs and figures with the repository. It compares three starts with the same
initial weights: these as they are, pretrained, and trained to tell defective
cells with the labels of 636 cells of each class, all that train and val have.
Of each, accuracy on 182 cells of each class of the test: of nearest neighbours
and of a linear classifier on frozen features, with the same 1,272 labels, and of
the whole network fine-tuned with 97 labels, 5 %.
"""

results = study.read_results(study.RESULTS)
print(study.table(results))

"""
And two numbers a cell, without any network, by the same linear classifier:
"""


def brightness(cells):
    """Mean and deviation of the pixels of each cell, as features."""
    numbers = [(image.mean(), image.std()) for image in cells["images"]]
    return {"features": np.float32(numbers), "labels": cells["labels"]}


accuracy = evaluate_linear(
    None,
    brightness(even(part(cells, "train", "val"))),
    brightness(even(part(cells, "test"))),
)["top1"]
print(f"mean and deviation of a cell: {100 * accuracy:.1f} %")

"""
Means and standard deviations over seeds; the time is that of one core, for
pretraining or training. On 364 cells a figure has a standard error of two and a
half points by itself. So what this says is:

- Pretraining gained nothing that can be told from chance. A linear classifier is
  1.5 points better, in two seeds of three, neighbours are 2.5 points worse, and
  fine-tuning ends where it ends from random weights.
- Labels did no better: the network that was trained with all of them has
  features no more telling, to a linear classifier, than its random weights were.
  So it is hardly the criterion that limits here, but a network of 0.3 million
  weights, which sees 160 pixels of 300 and has two to three minutes on a core.
- Mean and deviation of a cell tell more than any of it: defective cells are dark.
  Pretraining is told to be blind to just that, for views differ in brightness
  and contrast. Smaller changes of these did not help, though (below).
- Without the rows of random weights and of two numbers, 74 % would have looked
  like a success.

Whoever has such images and a GPU will take a larger network, views at full
resolution and a hundred times the steps, and compare with random weights and
with brightness all the same. (Deitsch et al. report 88 %, with a large network
trained on ImageNet before, on a split of their own.)

Bars are means, lines standard deviations, dots seeds; the dashed line is the
random network:
"""

plot_ablation(
    {
        study.title(method): {
            name: [run["figures"][key] for run in runs]
            for key, name in (
                ("knn", "neighbours, %"),
                ("linear", "linear, %"),
                ("finetuned", "fine-tuned, %"),
            )
        }
        for method, runs in results.items()
    },
    baseline=study.title("random"),
)

"""
How the pretrainings went, means of the seeds:
"""

plot_curves(
    {
        study.title(method): [run["history"] for run in results[method]]
        for method in ("vicreg", "both")
        if method in results
    }
)

"""
## What was tried

On the cells of val, six modules, with train alone, one seed, 250 steps, without
choosing anything by the test: the area under the ROC curve in percent, where
chance is 50.

| | neighbours | linear |
|---|---:|---:|
| random weights | 79.1 | 77.9 |
| crops of 0.1 to 0.6 of a cell, as above | 82.2 | 85.0 |
| twice as many epochs | 83.3 | 79.2 |
| crops of 0.08 to 0.4, twice the learning rate | 81.9 | 80.0 |
| a quarter of the changes of brightness, contrast and gamma | 82.9 | 81.2 |
| random weights, evaluated at 128 px instead of 160 | 78.9 | 69.8 |
| crops of 0.4 to 1, at 128 px | 79.5 | 78.7 |
| crops of 0.4 to 1, at 128 px, VICReg alone | 81.0 | 69.9 |

On val every pretraining is as good as random weights or better, by little, which
the test does not confirm. Six modules are too few to choose by: worth knowing
before a study is believed that chose by as few.

## Four bands of 16 bits, to the exported model

Satellites, multispectral cameras, fluorescence: more channels, more bits, each
of its own level. Here 12 bits of 16, in four bands, from a formula: fields of
which one half has its fourth band, the near infrared, bright.
"""

rng = np.random.default_rng(0)
y, x = np.mgrid[:48, :48]
levels = np.array([300, 500, 400, 1500])
fields = []
for index in range(32 if SHORT else 128):
    wave = np.sin(x / rng.uniform(3, 6) + y / rng.uniform(3, 6))[..., None]
    bands = levels * (1 + 0.3 * wave + 0.05 * rng.normal(size=(48, 48, 4)))
    bands[..., 3] *= 1 + index % 2
    fields.append(np.clip(bands, 0, 4095).astype("uint16"))
np.save(work / "fields.npy", fields)

images = load(work / "fields.npy")  # mapped: rows are read as they are needed
statistics = channel_statistics(images)
for low, high in statistics.value_range:
    print(f"{low:6.0f} to {high:5.0f} become 0 to 1")

"""
The rest is as above, but for the number of channels, which the statistics tell.
"""

views = MultiView.for_channels(statistics, size=32, on="device")
bands_model = VICRegL(
    backbone(
        "small_resnet",
        widths=(8, 16, 32, 64),
        input_shape=(None, None, images.channels),
    ),
    expander_units=(128, 128),
    local_expander_units=(64, 64),
    num_matches=(4, 4),
    views=views,
)
bands_model.compile(AdamW(1e-3))
batches = view_batches(images, views, batch_size=16, seed=0)
bands_history = bands_model.fit(batches, epochs=1, verbose=0)

"""
What is deployed takes raw values: range, mean and deviation are inside.
"""

export(bands_model.backbone, work / "bands.keras", preprocessing=True)
deployed = load_backbone(work / "bands.keras")
raw = np.stack(fields[:8])
expected = bands_model.backbone(
    bands_model.backbone.normalization(raw), training=False
)
difference = np.abs(
    keras.ops.convert_to_numpy(deployed(raw.astype("float32")))
    - keras.ops.convert_to_numpy(expected)
)
print(f"largest difference for raw values: {difference.max():.0e}")

"""
ONNX and SavedModel are made in the same way: [Export and use](export_and_use.md).
Other formats of files, masks, pictures of three bands of many: [Other images than
photographs](pretrain_your_own_data.md#other-images-than-photographs).

## Do it again

```shell
pip install elpv-dataset
python examples/solar_cells.py
```

Runs that are stored are not run again; `--results` and `--runs` begin a study of
one's own, and `--table` prints the table of what is stored.
"""
