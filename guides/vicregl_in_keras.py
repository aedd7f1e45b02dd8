"""
Title: Pretraining for segmentation with VICRegL
Author: The keras_vicregl authors
Date created: 2026/11/25
Last modified: 2026/11/25
Description: Self-supervised learning of global and local features, from images to segmentation.
Accelerator: None
"""

"""
## Why local features

Most self-supervised methods compare whole images: two augmented views of an
image must have similar embeddings, and embeddings of different images must not
all be the same. What such a network learns about *where* things are is a
by-product, since the mean over the feature map is all that the objective sees.
For segmentation and detection it is the map that counts.

[VICRegL](https://arxiv.org/abs/2210.01571) (Bardes, Ponce and LeCun, NeurIPS
2022) applies one criterion twice. VICReg has three terms, on a batch of
embeddings: *variance* keeps the standard deviation of each channel above 1,
*covariance* keeps channels from repeating each other, *invariance* draws the
two views of an image together. VICRegL takes it of the pooled features, and
again of the *positions* of the feature maps: of pairs of positions that come
from the same place of the image, or whose embeddings are close.

    loss = alpha * global + (1 - alpha) * local

This page pretrains a small network on the images that come with the package,
looks at what it has learnt, and puts it to use. On a CPU it takes some minutes.

## The images

Digit scenes are real handwritten digits on real photographs. Each has a label,
the class of its largest digit, and a mask with a class for every pixel. The
pretraining sees neither.
"""

import importlib.util
import os

# Any of the three that is installed.
backends = filter(importlib.util.find_spec, ("tensorflow", "jax", "torch"))
os.environ.setdefault("KERAS_BACKEND", next(backends))

import keras
import numpy as np

from keras_vicregl import VICRegL
from keras_vicregl.data import (
    SEGMENTATION_CLASS_NAMES,
    digit_scenes,
    load,
    view_batches,
)
from keras_vicregl.evaluation import (
    evaluate_knn,
    evaluate_linear,
    evaluate_segmentation,
    extract_features,
    train_segmentation,
)
from keras_vicregl.models.backbones import SmallResNet
from keras_vicregl.optimizers import AdamW, warmup_cosine
from keras_vicregl.views import MultiView
from keras_vicregl.visualization import (
    find_matches,
    plot_curves,
    plot_feature_maps,
    plot_match_criteria,
    plot_segmentations,
)

# Tests run this page with few images and epochs.
short = "GUIDES_SHORT" in os.environ
epochs, batch_size = (1, 16) if short else (8, 64)
train = digit_scenes("train", 64 if short else 10_000)
test = digit_scenes("test", 32 if short else 2_000)
print({name: values.shape for name, values in train.items()})

"""
## Two views of an image, and where they come from

`MultiView` crops, flips and disturbs colours. Each view comes with an affine
map from its coordinates to pixels of the source image, so that positions of
any feature map can be found in the source: sizes, strides and aspect ratios
need not be told to anyone. `view_batches` makes batches for `fit`: with
`on="device"`, of images and of what is drawn for their views, which the model
makes on its GPU.
"""

make_views = MultiView.scenes(size=48, on="device")
batches = view_batches(
    load(train, labels=False, masks=False),
    make_views,
    batch_size=batch_size,
    seed=0,
)
x = make_views.render(next(iter(batches))[0])
print([tuple(view.shape) for view in x["views"]])
print("view to source, first image, first view:")
print(keras.ops.convert_to_numpy(x["view_to_source"][0][0]))

"""
## The model

Any Keras model that maps images to one feature map can be the backbone. The
expanders, which the objective needs and which are thrown away afterwards, are
part of `VICRegL`.
"""

keras.utils.set_random_seed(0)
model = VICRegL(
    SmallResNet(widths=(16, 24, 32, 48), block="bottleneck"),
    alpha=0.75,
    expander_units=(512, 512, 512),
    local_expander_units=(128, 128, 64),
    views=make_views,
)
random_backbone = keras.models.clone_model(model.backbone)
random_backbone.set_weights(model.backbone.get_weights())

"""
## Training

`compile` and `fit`, as ever. The loss and its six terms are logged, and
monitors of collapse: the spread of features and embeddings and the correlation
of their channels.
"""

steps = len(batches)
model.compile(
    AdamW(
        warmup_cosine(
            0.016,
            steps_per_epoch=steps,
            batch_size=batch_size,
            epochs=epochs,
            warmup_epochs=0.1 * epochs,
        ),
        weight_decay=1e-4,
    )
)
history = model.fit(batches, epochs=epochs, verbose=0).history
plot_curves(history)

"""
## What is matched

The 20 closest matches by location and by feature, between two views of test
images; [three questions about local features](local_features.md) looks closer.
"""

plain = MultiView.scenes(blur=(0,), jitter=0, grayscale=0, on="device")
seeds = [(0, index) for index in range(3)]
(drawn,) = plain.inputs(test["images"][:3], seeds)
plot_match_criteria(find_matches(model, plain.render(drawn)))

"""
## What the features are worth

The backbone is frozen. Nearest neighbours and a linear classifier judge its
pooled features, a linear segmentation head (batch normalisation and a 1 x 1
convolution) its feature map; all on features that are computed once. The same
network with its random weights is what to compare with: on small images with
simple classes it is not bad.
"""

features = {
    name: tuple(extract_features(backbone, data) for data in (train, test))
    for name, backbone in {
        "random": random_backbone,
        "VICRegL": model.backbone,
    }.items()
}
some = slice(4000)  # of the training images, for segmentation
print("          kNN   linear  mean IoU")
for name, (of_train, of_test) in features.items():
    knn = evaluate_knn(None, of_train, of_test)["top1"]
    linear = evaluate_linear(None, of_train, of_test)["top1"]
    segmentation = evaluate_segmentation(
        None,
        {key: values[some] for key, values in of_train.items()},
        of_test,
        num_classes=11,
    )
    iou = segmentation["mean_iou"]
    print(f"{name:8} {knn:6.1%} {linear:6.1%} {iou:8.1%}")

"""
Feature maps as colours - the first three principal components of all
positions:
"""

plot_feature_maps(
    test["images"][:6],
    {name: of_test["features"][:6] for name, (_, of_test) in features.items()},
)

"""
## Segmentation, frozen and fine-tuned

`train_segmentation` puts the head on a copy of the backbone, either frozen or
trained along, and returns a model that segments images of any size. Few labels
are when pretraining counts: here are 500 images.
"""

labelled = {name: values[:500] for name, values in train.items()}
settings = dict(
    num_classes=11,
    output_stride="as_is",
    iterations=3 if short else 800,
    batch_size=16,
    crop_size=64,
    scales=(0.8, 1.25),
    flip=False,
    learning_rate=0.1,
)
results = {
    f"{name}, {'frozen' if frozen else 'fine-tuned'}": train_segmentation(
        backbone, labelled, test, frozen=frozen, **settings
    )
    for frozen in (True, False)
    for name, backbone in {
        "random": random_backbone,
        "VICRegL": model.backbone,
    }.items()
}
for name, result in results.items():
    print(f"{name:20} mean IoU {result.figures['mean_iou']:.1%}")

shown = {name: values[:4] for name, values in test.items()}
plot_segmentations(
    shown["images"],
    shown["segmentation_masks"],
    {
        name: np.stack(result.segmenter.predict(shown["images"]))
        for name, result in results.items()
    },
    class_names=SEGMENTATION_CLASS_NAMES,
)

"""
## What next

- [Does the local criterion help?](ablation_study.md) The paper's Table 3, with
  several seeds.
- [Pretraining on your own images](pretrain_your_own_data.md): a folder, a GPU.
- [Your own loader](your_own_loader.md): a PyTorch DataLoader, views of your own.
- [Pretraining on many devices](distributed_pretraining.md).
- [Exporting and using a backbone](export_and_use.md): SavedModel, ONNX,
  fine-tuning.
- [Local features, three questions](local_features.md).
"""
