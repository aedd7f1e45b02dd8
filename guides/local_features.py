"""
Title: Local features, three questions
Author: The keras_vicregl authors
Date created: 2026/11/25
Last modified: 2026/11/25
Description: What VICRegL's local criterion matches, why it does not collapse, and what it costs.
Accelerator: None
"""

"""
VICRegL adds a local criterion to VICReg: positions of two views' feature maps
are matched, and their embeddings are drawn together, while variance and
covariance of each set of matched embeddings are kept up. Matches are made
twice: *by location*, with what comes from the same place of the source image,
and *by feature*, with whatever lies nearest in embedding space.

Readers of the paper ask three things:

1. What does "matching" connect?
2. Why pull together features that are close already: is that not one more
   reason to collapse?
3. Is it not expensive?

This page answers by experiment, on digit scenes (see `digit_scenes`): small
images that a CPU can train on, with a class for every pixel, so that one can
tell whether two matched positions show the same thing.
"""

import importlib.util
import os
import statistics
import time

# Any of the three that is installed.
backends = filter(importlib.util.find_spec, ("tensorflow", "jax", "torch"))
os.environ.setdefault("KERAS_BACKEND", next(backends))

import keras
import numpy as np

from keras_vicregl.data import digit_scenes, load, view_batches
from keras_vicregl.evaluation import effective_rank, extract_features
from keras_vicregl.recipes import RECIPES
from keras_vicregl.views import MultiView
from keras_vicregl.visualization import (
    find_matches,
    plot_curves,
    plot_match_criteria,
    plot_match_distances,
)

# Tests run this page with few images and epochs.
short = "GUIDES_SHORT" in os.environ
recipe = RECIPES["scenes"]
epochs, batch_size = (1, 16) if short else (4, recipe.batch_size)
train = digit_scenes("train", 64 if short else 6000)
test = digit_scenes("test", 16 if short else 512)

"""
Networks, views and optimizer are those of the recipe "scenes". A function
trains it with any of its arguments changed.
"""


make_views = recipe.make_views(on="device")


def batches(scenes):
    return view_batches(
        load(scenes, labels=False, masks=False),
        make_views,
        batch_size=batch_size,
        seed=0,
    )


def make_model(**changes):
    keras.utils.set_random_seed(0)
    model = recipe.make_model(views=make_views, **changes)
    steps = len(train["images"]) // batch_size
    model.compile(
        recipe.make_optimizer(steps, batch_size=batch_size, epochs=epochs)
    )
    return model


def trained(**changes):
    model = make_model(**changes)
    history = model.fit(batches(train), epochs=epochs, verbose=0).history
    return model, history


untrained = make_model()
model, history = trained()

"""
## What does matching connect?

`find_matches` gives both kinds of matches of a batch, with what separates
their ends in the source image. Here are the 20 closest of each kind, between
two views of three scenes that no training has seen. Colours of lines are
distances.
"""

plain = MultiView.scenes(blur=(0,), jitter=0, grayscale=0, on="device")


def views_of(scenes):
    images = scenes["images"]
    (drawn,) = plain.inputs(images, [(1, i) for i in range(len(images))])
    return keras.tree.map_structure(
        keras.ops.convert_to_numpy, plain.render(drawn)
    )


few = {name: values[:3] for name, values in test.items()}
plot_match_criteria(find_matches(model, views_of(few)))

"""
Matches by location lie at one place, whatever crop and flip have done to the
views: geometry is tracked. Matches by feature need not. Of all positions of all
test scenes, each with its nearest partner:
"""

views = views_of(test)
before = find_matches(untrained, views, num_matches=None)
after = find_matches(model, views, num_matches=None)
plot_match_distances(after)

"""
The histogram is of the trained network. Distances say where a match leads, but
not whether it is of use: two ends of a stroke of a digit are far apart and the
same thing. The masks of the scenes tell. For positions that lie on a digit, how
many of their matches lie on a digit of the same class, and how many on any?
"""

masks = test["segmentation_masks"][..., 0]
scene = np.arange(len(masks))[:, None]


def classes_at(places):
    """Classes (N, K) of the pixels at places (N, K, 2), as (x, y)."""
    x, y = np.moveaxis(places, -1, 0).astype(int).clip(0, masks.shape[1] - 1)
    return masks[scene, y, x]


def agreement(matches, criterion):
    """Percentages of matches of positions on digits, and their distance."""
    pairs = matches.pairs[criterion]
    here = classes_at(matches.positions[0][scene, pairs.queries])
    there = classes_at(matches.positions[1][scene, pairs.neighbours])
    on_digit = here > 0
    return [
        100 * np.mean(there[on_digit] == here[on_digit]),
        100 * np.mean(there[on_digit] > 0),
        np.median(pairs.distances),
    ]


every_place = classes_at(after.positions[0]), classes_at(after.positions[1])
first, second = every_place[0][:, :, None], every_place[1][:, None, :]
on_digit = np.broadcast_to(first > 0, (*first.shape[:2], second.shape[2]))
chance = [
    100 * np.mean((first == second)[on_digit]),
    100 * np.mean(np.broadcast_to(second > 0, on_digit.shape)[on_digit]),
    np.median(after.all_distances()),
]
print("matches              same class  any digit  median distance")
for name, values in {
    "random pairs": chance,
    "feature, untrained": agreement(before, "feature"),
    "feature, trained": agreement(after, "feature"),
    "location": agreement(after, "location"),
}.items():
    print("{:20} {:8.0f} % {:8.0f} % {:13.1f} px".format(name, *values))

"""
So matching by feature connects what looks alike to the network, wherever it is.
Even an untrained one finds the same class far more often than chance: strokes
look like strokes. Training makes it more often, while the partners move
*farther away* in the image. Matching by location is right more often - not
always, as a position stands for 8 x 8 pixels of a view, with an edge in them
perhaps - but it cannot reach two instances of one thing, nor views that do not
overlap. That is what the two have to give each other.

## Why pull together what is close already?

Nearest neighbours are close by choice, so an invariance term on them alone is
satisfied best when everything is one point. What forbids that is the rest of
the criterion: in every set of matched embeddings each channel must keep a
standard deviation of 1 over the batch, and channels must not repeat each other.
Below is the local criterion by feature alone, without any global one
(`alpha=0`), with and without these two terms - and VICReg and VICRegL for
comparison. `local spread` is the mean standard deviation of local embeddings
over the test scenes, as the variance term has it; the effective rank (RankMe)
of features is the number of directions that they really use, of 192.
"""


def local_spread(of):
    """Mean over positions and channels of standard deviations over scenes."""
    maps = of.backbone.predict(views["views"][0], verbose=0)
    count, height, width, channels = maps.shape
    places = maps.reshape(-1, channels)
    embeddings = of.local_expander.predict(places, batch_size=4096, verbose=0)
    return embeddings.reshape(count, height * width, -1).std(axis=0).mean()


variants = {
    "untrained": (untrained, {}),
    "by feature, invariance alone": trained(
        alpha=0.0,
        local_criteria=["feature"],
        variance_coefficient=0.0,
        covariance_coefficient=0.0,
    ),
    "by feature": trained(alpha=0.0, local_criteria=["feature"]),
    "VICReg": trained(alpha=1.0),
    "VICRegL": (model, history),
}
print("objective                      effective rank  local spread")
for name, (variant, _) in variants.items():
    pooled = extract_features(variant.backbone, test, pooled=True)
    spread = (
        "-"
        if variant.local_expander is None
        else f"{local_spread(variant):.3f}"
    )
    rank = effective_rank(pooled["features"])
    print(f"{name:30} {rank:14.1f}  {spread:>12}")

"""
The terms and the monitors (`repr_std`, `repr_corr`) of each, over the epochs:
"""

plot_curves({name: log for name, (_, log) in variants.items() if log})

"""
So it is a reason to collapse, if nothing else is asked for: with invariance
alone, embeddings become one point - a spread of thousandths - within an epoch.
The loss is then 0, and nothing is left to learn from. (The features beneath
need not follow, as the expander can make them equal by itself: `repr_std` does
not tell here.) With variance and covariance the spread is of the order of 1,
which they ask for. The reason is the order of things: a position may choose its
partner, but the statistics are taken over the batch for all positions, chosen
or not, and no choice can make them larger.

By feature alone, features are less spread than by VICReg, though, and so it is
in longer runs, where that criterion does not help without the other:
[Does the local criterion help?](ablation_study.md)

## Is it not expensive?

The local criterion looks for matches among all pairs of positions, and takes
statistics for every position. Done as it reads, it costs more than the
backbone; done once for each pair of views, in products of matrices, it is
little. Seconds of a whole step, in turns:
"""


def seconds_of_step(timed, data):
    start = time.perf_counter()
    timed.train_on_batch(data)
    return time.perf_counter() - start


data, *_ = next(iter(batches(train)))
data = keras.tree.map_structure(keras.ops.convert_to_numpy, data)
compared = {"VICReg": make_model(alpha=1.0), "VICRegL": make_model()}
times = {name: [] for name in compared}
for _ in range(3 if short else 25):
    for name, timed in compared.items():
        times[name].append(seconds_of_step(timed, data))
ratios = [b / a for a, b in zip(*times.values(), strict=True)][2:]
for name, seconds in times.items():
    print(f"{name:8} {1000 * statistics.median(seconds[2:]):7.0f} ms")
print(f"median ratio {statistics.median(ratios):.2f}")

"""
This backbone is tiny, so that the local expander - three layers at each of 36
positions - shows. For a ResNet-50 with the paper's expanders the local
criterion adds 0 to 2 % to a step, for a ConvNeXt-T with eight views at most 3 %
(see [speed and memory](../docs/speed.md), `make bench-step`).
"""
