"""Recipes: networks, views and training as plain data.

The paper's (its appendix and Tables 1 and 3), and small ones. Each opens with
the command that trains it, the time that takes and the accuracy it reaches;
"not measured" is to be read literally. Accuracies of the paper: ImageNet is the
top-1 accuracy of a linear classifier, VOC the mean IoU of a linear segmentation
head, both on the frozen backbone.

`RECIPES["resnet50"]` builds what it describes: `make_views()`, `make_model()`,
`make_optimizer(steps_per_epoch)`; all take arguments that replace the recipe's.
"""

from types import MappingProxyType

from keras_vicregl._recipe import PRECISIONS, Recipe

__all__ = ["PRECISIONS", "RECIPES", "Recipe"]

_TWO_VIEWS = {"groups": [{"size": 224, "count": 2, "scale": [0.08, 1.0]}]}
_EIGHT_VIEWS = {
    "groups": [
        {"size": 224, "count": 2, "scale": [0.4, 1.0]},
        {"size": 96, "count": 6, "scale": [0.08, 0.4]},
    ]
}
_LARS = {"momentum": 0.9, "eta": 0.001, "weight_decay": 1e-6}
_ADAMW = {"weight_decay": 0.05}

# python examples/pretrain.py --recipe resnet50 --data imagenet2012
_RESNET50 = Recipe(
    name="resnet50",
    data="imagenet2012",
    time="not measured",
    accuracy="published: ImageNet 70.4 %, VOC 55.9 %; with alpha=0.9 71.2 % "
    "and 54.0 %",
    backbone="resnet50",
    model={"alpha": 0.75},
    views=_TWO_VIEWS,
    optimizer="lars",
    optimizer_arguments=_LARS,
    base_learning_rate=0.2,
    batch_size=2048,
    epochs=300,
    precision="mixed_bfloat16",
)

# python examples/pretrain.py --recipe resnet50_vicreg --data imagenet2012
_RESNET50_VICREG = _RESNET50.replace(
    name="resnet50_vicreg",
    accuracy="published: ImageNet 71.5 %, VOC 47.8 %",
    model={"alpha": 1.0},
)

# python examples/pretrain.py --recipe resnet50_100 --data imagenet2012
_RESNET50_100 = _RESNET50.replace(
    name="resnet50_100",
    accuracy="not measured",
    base_learning_rate=0.3,
    batch_size=512,
    epochs=100,
)

# python examples/pretrain.py --recipe resnet50_100_vicreg --data imagenet2012
_RESNET50_100_VICREG = _RESNET50_100.replace(
    name="resnet50_100_vicreg",
    model={"alpha": 1.0},
)

# python examples/pretrain.py --recipe resnet50_100_location --data imagenet2012
_RESNET50_100_LOCATION = _RESNET50_100.replace(
    name="resnet50_100_location",
    accuracy="not measured; published for the paper's ablation: VOC 2.9 points "
    "above VICReg, where both local criteria give 4.3",
    model={"alpha": 0.75, "local_criteria": ["location"]},
)

# python examples/pretrain.py --recipe resnet50_100_feature --data imagenet2012
_RESNET50_100_FEATURE = _RESNET50_100.replace(
    name="resnet50_100_feature",
    accuracy="not measured; published for the paper's ablation: VOC 1.7 points "
    "above VICReg, where both local criteria give 4.3",
    model={"alpha": 0.75, "local_criteria": ["feature"]},
)

# python examples/pretrain.py --recipe resnet50_one_gpu --data imagenet2012
_RESNET50_ONE_GPU = _RESNET50_100.replace(
    name="resnet50_one_gpu",
    accuracy="not measured",
    batch_size=256,
)

# python examples/pretrain.py --recipe convnext_small --data imagenet2012
_CONVNEXT_SMALL = Recipe(
    name="convnext_small",
    data="imagenet2012",
    time="not measured",
    accuracy="published: ImageNet 74.6 %, VOC 67.5 %; with alpha=0.9 75.9 % "
    "and 66.7 %",
    backbone="convnext_small",
    backbone_arguments={"stochastic_depth_rate": 0.1},
    model={"alpha": 0.75},
    views=_EIGHT_VIEWS,
    optimizer="adamw",
    optimizer_arguments=_ADAMW,
    base_learning_rate=7.5e-4,
    batch_size=384,
    epochs=100,
    precision="mixed_bfloat16",
)

# python examples/pretrain.py --recipe convnext_small_vicreg --data imagenet2012
_CONVNEXT_SMALL_VICREG = _CONVNEXT_SMALL.replace(
    name="convnext_small_vicreg",
    accuracy="not measured",
    model={"alpha": 1.0},
)

# python examples/pretrain.py --recipe convnext_base --data imagenet2012
_CONVNEXT_BASE = _CONVNEXT_SMALL.replace(
    name="convnext_base",
    accuracy="published: ImageNet 76.3 %, VOC 70.4 %; with alpha=0.9 77.1 % "
    "and 69.3 %",
    backbone="convnext_base",
    base_learning_rate=5e-4,
    batch_size=576,
    epochs=400,
)

# python examples/pretrain.py --recipe stl10 --data stl10
_STL10 = Recipe(
    name="stl10",
    data="stl10",
    time="not measured",
    accuracy="not measured",
    backbone="resnet34",
    # 96 px become 6 x 6 positions.
    backbone_arguments={"stem": "small", "stem_strides": 2},
    model={
        "alpha": 0.75,
        "expander_units": [2048, 2048, 2048],
        "local_expander_units": [256, 256, 256],
        "num_matches": [12, 12],
    },
    views={
        "groups": [
            {
                "size": 96,
                "count": 2,
                "scale": [0.2, 1.0],
                "blur": [0.5],
                "blur_sigma": [0.1, 1.5],
            }
        ]
    },
    optimizer="lars",
    optimizer_arguments=_LARS,
    base_learning_rate=0.3,
    batch_size=256,
    epochs=200,
    precision="mixed_bfloat16",
)

# python examples/pretrain.py --recipe cifar10 --data cifar10
_CIFAR10 = _STL10.replace(
    name="cifar10",
    data="cifar10",
    # 32 px become 4 x 4 positions.
    backbone_arguments={"stem": "small"},
    model={**_STL10.model, "num_matches": [6, 6]},
    views={
        "groups": [{"size": 32, "count": 2, "scale": [0.2, 1.0], "blur": [0.0]}]
    },
)

# python examples/pretrain.py --recipe scenes --data digit_scenes
_SCENES = Recipe(
    name="scenes",
    data="digit_scenes",
    time="3 to 4 minutes on 2 CPU cores, TensorFlow, with 10,000 scenes",
    accuracy="measured by `make demo`, with Keras' own AdamW: linear top-1 "
    "46.2 %, kNN 16.7 %, linear mIoU 16.6 %",
    backbone="small_resnet",
    backbone_arguments={"widths": [16, 24, 32, 48], "block": "bottleneck"},
    model={
        "alpha": 0.75,
        "expander_units": [512, 512, 512],
        "local_expander_units": [128, 128, 64],
    },
    # What two crops share is first of all the colour of their background:
    # disturbed strongly, see `MultiView.scenes`.
    views={
        "groups": [
            {
                "size": 48,
                "count": 2,
                "scale": [0.25, 1.0],
                "blur": [0.5],
                "blur_sigma": [0.1, 1.5],
            }
        ],
        "brightness": 0.8,
        "contrast": 0.8,
        "saturation": 0.8,
        "hue": 0.5,
        "jitter": 1.0,
        "grayscale": 0.5,
    },
    optimizer="adamw",
    optimizer_arguments={"weight_decay": 1e-4},
    base_learning_rate=0.016,
    batch_size=64,
    epochs=8,
    warmup_epochs=0.8,
)

RECIPES = MappingProxyType(
    {
        recipe.name: recipe
        for recipe in (
            _RESNET50,
            _RESNET50_VICREG,
            _RESNET50_100,
            _RESNET50_100_VICREG,
            _RESNET50_100_LOCATION,
            _RESNET50_100_FEATURE,
            _RESNET50_ONE_GPU,
            _CONVNEXT_SMALL,
            _CONVNEXT_SMALL_VICREG,
            _CONVNEXT_BASE,
            _STL10,
            _CIFAR10,
            _SCENES,
        )
    }
)
