"""Data sets of small photographs: STL-10 and CIFAR-10."""

from keras_vicregl.recipes.recipe import Recipe
from keras_vicregl.recipes.shared import LARS

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
    optimizer_arguments=LARS,
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

FAMILY = (
    _STL10,
    _CIFAR10,
)
