"""
Title: Export and use a pretrained backbone
Author: The keras_vicregl authors
Date created: 2026/11/25
Last modified: 2026/11/25
Description: SavedModel, ONNX, a fine-tuned classifier, segmentation and detection, from a backbone that VICRegL has pretrained.
Accelerator: GPU
"""

"""
After `fit`, `model.backbone` is a Keras model like any other: it maps images to
a feature map. This page saves it, serves it without Keras, fine-tunes it as a
classifier and makes it segment and detect.
"""

import importlib.util
import os
import pathlib
import tempfile

# Any of the three that is installed.
backends = filter(importlib.util.find_spec, ("tensorflow", "jax", "torch"))
os.environ.setdefault("KERAS_BACKEND", next(backends))

import keras
import numpy as np
from matplotlib.figure import Figure

from keras_vicregl.checkpoints import check_export, export
from keras_vicregl.data import digit_scenes, load, view_batches
from keras_vicregl.evaluation import (
    confusion_matrix,
    evaluate_linear,
    evaluate_segmentation,
    mean_iou,
    normalize_images,
    train_detection,
)
from keras_vicregl.models.backbones import with_output_stride
from keras_vicregl.recipes import RECIPES
from keras_vicregl.visualization import plot_boxes

# Tests run this page with few images and epochs.
short = "GUIDES_SHORT" in os.environ
work = pathlib.Path(tempfile.mkdtemp())

"""
## A pretrained backbone

A short pretraining without labels stands for yours. The weights of the paper
are a line too: `backbone("resnet50", weights="resnet50_alpha0.9")`.
"""

epochs, batch_size = (1, 16) if short else (6, 64)
images = digit_scenes("train", 32 if short else 3000)["images"]
recipe = RECIPES["scenes"]
views = recipe.make_views(on="device")
batches = view_batches(load(images), views, batch_size=batch_size, seed=0)
keras.utils.set_random_seed(0)
model = recipe.make_model(views=views)
untrained = model.backbone.get_weights()
model.compile(recipe.make_optimizer(len(batches), batch_size, epochs))
model.fit(batches, epochs=epochs, verbose=0)
backbone = model.backbone
print(backbone.input_shape, "->", backbone.output_shape)

"""
## Keras

A `.keras` file is for Keras itself, with any backend, whichever wrote it. The
backbones of this package need `import keras_vicregl` before it is loaded.
"""

test = digit_scenes("test", 50 if short else 1000, boxes=True)
sample = test["images"][:8]
normalized = normalize_images(sample)
expected = backbone.predict(normalized, verbose=0)

backbone.save(work / "backbone.keras")
reloaded = keras.saving.load_model(work / "backbone.keras")


def compare(maps):
    """Prints how far maps are from the backbone's own, relative to these."""
    difference = np.abs(np.asarray(maps) - expected).max()
    print(f"largest difference: {difference / np.abs(expected).max():.0e}")


compare(reloaded.predict(normalized, verbose=0))

"""
## SavedModel

For TensorFlow Serving and all that loads a SavedModel. With
`preprocessing=True` it takes uint8 RGB images, of any size, and normalises them
itself. Each backend can do it where TensorFlow is installed; PyTorch has a
TensorFlow process do the writing. Where it is not, ONNX is the way.
"""

try:
    check_export(work / "served")
    import tensorflow as tf
except ImportError as error:
    print("Left out:", error)
    tf = None
else:
    export(backbone, work / "served", preprocessing=True)
    # Keep this object: its functions do not live without it.
    served = tf.saved_model.load(str(work / "served"))
    compare(served.serve(tf.constant(sample)))

"""
`serve` gives the feature map, `pooled` its mean over positions, `pyramid` the
maps of all stages, from fine to coarse.
"""

if tf:
    print(served.pooled(tf.constant(sample)).shape)
    for level, maps in sorted(served.pyramid(tf.constant(sample)).items()):
        print(level, maps.shape)

"""
## ONNX

The same in one file, for ONNX Runtime and whatever else reads it. A runtime
computes those of the outputs that are asked for. TensorFlow writes it by
tf2onnx, PyTorch by its own exporter, and no other backend is needed for it; JAX
has one of the two do it in a second process. `pip install
"keras-vicregl[onnx]"` brings what they need. `check_export` says what is
missing, before anything is trained or written.
"""

try:
    check_export(work / "backbone.onnx")
    import onnxruntime
except ImportError as error:
    print("Left out:", error)
else:
    export(backbone, work / "backbone.onnx", preprocessing=True)
    session = onnxruntime.InferenceSession(work / "backbone.onnx")
    print("outputs:", *(output.name for output in session.get_outputs()))
    (maps,) = session.run(["feature_map"], {"images": sample})
    compare(maps)

"""
## PyTorch

A `.pth` file has the weights of a `ResNet` or `ConvNeXt` of this package, under
the names that torchvision and the published ConvNeXt code give them, and bit
for bit. Torchvision's network takes all of them, and misses its own classifier:

```python
weights = torch.load("backbone.pth", weights_only=True)
network = torchvision.models.resnet50()
network.load_state_dict(weights, strict=False)
# _IncompatibleKeys(missing_keys=['fc.weight', 'fc.bias'], unexpected_keys=[])
```

It takes images that are normalised, `(B, 3, H, W)`. With its `fc` trained it is
a classifier; `backbone("resnet50", weights="trained.pth")` leads back to Keras.
A `VICRegL` is saved with its expanders by `save_checkpoint(model, path)`.
"""

try:
    export(backbone, work / "backbone.pth")
    import torch
except ImportError as error:
    print("Left out:", error)
else:
    weights = torch.load(work / "backbone.pth", weights_only=True)
    for key in list(weights)[:3]:
        print(key, tuple(weights[key].shape))

"""
## A classifier

Labels for a thousand scenes: the digit that is largest. First a linear layer on
the frozen features, which is how pretraining is judged.
"""

train = digit_scenes("train", 50 if short else 1000, seed=1, boxes=True)
accuracy = evaluate_linear(backbone, train, test)["top1"]
print(f"linear classifier: {accuracy:.1%}")

"""
Then all weights. The new model takes images as they are, and normalises them as
the views of the pretraining were. With `backbone.trainable = False` before
`compile`, only the last layer would learn, and batch normalisation keep its
statistics.
"""


def normalization():
    """Of images in [0, 255], by ImageNet's mean and standard deviation."""
    return keras.layers.Normalization(
        mean=[255 * m for m in (0.485, 0.456, 0.406)],
        variance=[(255 * s) ** 2 for s in (0.229, 0.224, 0.225)],
    )


def fine_tuned_classifier(weights):
    """A classifier whose backbone starts from given weights."""
    keras.utils.set_random_seed(0)
    trunk = type(backbone).from_config(backbone.get_config())
    trunk.set_weights(weights)
    classifier = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            normalization(),
            trunk,
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )
    classifier.compile(
        keras.optimizers.AdamW(1e-3, weight_decay=0.01),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    classifier.fit(
        train["images"],
        train["labels"],
        batch_size=50,
        epochs=1 if short else 12,
        verbose=0,
    )
    return classifier


for name, weights in {
    "from scratch": untrained,
    "from the pretrained backbone": backbone.get_weights(),
}.items():
    classifier = fine_tuned_classifier(weights)
    _, accuracy = classifier.evaluate(test["images"], test["labels"], verbose=0)
    print(f"fine-tuned {name}: {accuracy:.1%}")

"""
## Segmentation on frozen features

The feature map is what VICRegL is for. A batch normalisation and a 1 x 1
convolution on it, upsampled, are the paper's linear evaluation. They can stand
on other maps of the same backbone, too:

- at another stride: `with_output_stride` replaces strides by dilation and leaves
  the weights as they are;
- on all stages, resized to the finest and put side by side.
"""

dense = with_output_stride(backbone, 4)

strides = backbone.pyramid_strides
finest = min(strides.values())
levels = [
    keras.layers.UpSampling2D(
        strides[level] // finest, interpolation="bilinear"
    )(maps)
    for level, maps in backbone.pyramid_outputs.items()
]
stages = keras.Model(backbone.input, keras.layers.Concatenate()(levels))

for name, maps in {
    "stride 8": backbone,
    "stride 4": dense,
    "all stages": stages,
}.items():
    result = evaluate_segmentation(
        maps, train, test, num_classes=11, epochs=1 if short else 10
    )
    print(
        f"{name:>10}: {maps.output_shape[-1]:3} channels, "
        f"mean IoU {result['mean_iou']:.1%}"
    )

"""
## Segmentation, fine-tuned

In Keras' own terms: the dense backbone, a head, `fit`. `ignore_class=255` is
for data sets that leave pixels without a label, as Pascal VOC does.
"""

segmenter = keras.Sequential(
    [
        keras.Input((64, 64, 3)),
        normalization(),
        dense,
        keras.layers.Conv2D(11, 1),
        keras.layers.UpSampling2D(4, interpolation="bilinear"),
    ]
)
segmenter.compile(
    keras.optimizers.AdamW(1e-3, weight_decay=0.01),
    keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, ignore_class=255
    ),
)
segmenter.fit(
    train["images"],
    train["segmentation_masks"],
    batch_size=50,
    epochs=1 if short else 12,
    verbose=0,
)
scores = segmenter.predict(test["images"], verbose=0)
predictions = scores.argmax(axis=-1)
confusion = confusion_matrix(
    test["segmentation_masks"][..., 0], predictions, 11
)
print(f"mean IoU {mean_iou(confusion):.1%}")


def plot_predictions(count=6):
    """Images, masks and predictions, one below the other."""
    rows = {
        "image": test["images"],
        "label": test["segmentation_masks"],
        "prediction": predictions,
    }
    figure = Figure(figsize=(1.4 * count, 4.4), layout="constrained")
    grid = figure.subplots(len(rows), count)
    for axes, (name, pictures) in zip(grid, rows.items(), strict=True):
        axes[0].set_ylabel(name)
        for one, picture in zip(axes, pictures, strict=False):
            one.imshow(
                picture, "tab20", vmin=0, vmax=19, interpolation="nearest"
            )
            one.set(xticks=[], yticks=[])
    return figure


plot_predictions()

"""
These are Keras models with Keras' own `save` and `export`.
"""

segmenter.save(work / "segmenter.keras")
again = keras.saving.load_model(work / "segmenter.keras")
same = np.allclose(
    again.predict(sample, verbose=0),
    segmenter.predict(sample, verbose=0),
    atol=1e-4,
)
print("the same scores:", same)

"""
## Detection

Detectors look at maps of several strides. `train_detection` puts a feature
pyramid and the heads of a RetinaNet on a copy of the backbone, trains all of it
(`frozen=True`: but the backbone) on images with boxes, and judges it by COCO's
average precision, for which it needs `pip install "keras-vicregl[detection]"`.
On scenes of 64 px three levels are enough; COCO's images take those of strides
8 to 128. Of a backbone of your own it uses `pyramid_outputs` and
`pyramid_strides`.
"""

for name, weights in {
    "from scratch": untrained,
    "from the pretrained backbone": backbone.get_weights(),
}.items():
    trunk = type(backbone).from_config(backbone.get_config())
    trunk.set_weights(weights)
    figures, detector, _ = train_detection(
        trunk, train, test, num_classes=10, epochs=1 if short else 12
    )
    print(
        f"{name}: AP {figures['ap']:.1%}, AP at IoU 0.5 {figures['ap50']:.1%}"
    )

"""
The detector takes images of any size. The true boxes are dashed:
"""

some = slice(0, 6)
plot_boxes(
    test["images"][some],
    {key: test[key][some] for key in ("boxes", "box_classes")},
    detector.predict(test["images"][some]),
    min_score=0.4,
)

"""
Pretraining itself: [Pretraining on your own
images](pretrain_your_own_data.md), [Your own loader](your_own_loader.md).
"""
