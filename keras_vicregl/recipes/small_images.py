"""Data sets of small or few photographs: STL-10, CIFAR-10 and CamVid."""

from keras_vicregl.recipes.recipe import Recipe
from keras_vicregl.recipes.shared import CAPPED_LARS, LARS

# keras-vicregl pretrain --recipe stl10 --data stl10
_STL10 = Recipe(
    name="stl10",
    data="stl10",
    time="not run",
    accuracy="not run",
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

# keras-vicregl pretrain --recipe cifar10 --data cifar10
_CIFAR10 = Recipe(
    name="cifar10",
    data="cifar10",
    time="an hour on one CPU core that has bfloat16, TensorFlow, beside other "
    "work",
    accuracy="measured by `examples/cifar10.py`, three seeds: linear 70.5 %, "
    "kNN 63.0 %; VICReg 70.2 and 64.9 %, random weights 38.4 and 30.5 %",
    backbone="small_resnet",
    # 512 features in a third of the time that basic blocks take.
    backbone_arguments={
        "block": "bottleneck",
        "widths": [16, 32, 64, 128],
        "strides": [1, 2, 2, 1],
        "stem_width": 32,
    },
    # 24 px become 3 x 3 positions.
    model={
        "alpha": 0.75,
        "expander_units": [512, 512, 512],
        "local_expander_units": [128, 128, 128],
        "num_matches": [4, 4],
    },
    # Crops are enlarged less than to 32 px: things have the size that they have
    # in whole images, and a step takes half the time.
    views={
        "groups": [{"size": 24, "count": 2, "scale": [0.2, 1.0], "blur": [0.0]}]
    },
    optimizer="lars",
    optimizer_arguments=CAPPED_LARS,
    base_learning_rate=1.2,
    # Minutes are few, and many small steps are better than few large ones.
    batch_size=64,
    epochs=30,
    warmup_epochs=1,
    precision="mixed_bfloat16",
)

# keras-vicregl pretrain --recipe cifar10_resnet18 --data cifar10
_CIFAR10_RESNET18 = _STL10.replace(
    name="cifar10_resnet18",
    data="cifar10",
    backbone="resnet18",
    # 32 px become 4 x 4 positions.
    backbone_arguments={"stem": "small"},
    model={**_STL10.model, "num_matches": [6, 6]},
    views={
        "groups": [{"size": 32, "count": 2, "scale": [0.2, 1.0], "blur": [0.0]}]
    },
    optimizer_arguments=CAPPED_LARS,
)

# keras-vicregl pretrain --recipe camvid --data CamVid --split train+val
_CAMVID = Recipe(
    name="camvid",
    data="CamVid",
    time="10 minutes on one CPU core, TensorFlow, beside other work",
    accuracy="measured by `examples/photographs.py`, three seeds: linear "
    "mIoU 21.2 % on the test frames; random weights 15.5 %, VICReg 19.4 %",
    backbone="small_resnet",
    backbone_arguments={"widths": [16, 32, 64, 128]},
    # 64 px become 8 x 8 positions.
    model={
        "alpha": 0.75,
        "expander_units": [512, 512, 512],
        "local_expander_units": [128, 128, 128],
        "num_matches": [12, 12],
    },
    # Streets are wide, and what is labelled is small.
    views={
        "groups": [
            {
                "size": 64,
                "count": 2,
                "scale": [0.05, 0.4],
                "blur": [0.5],
                "blur_sigma": [0.1, 1.0],
            }
        ]
    },
    optimizer="adamw",
    optimizer_arguments={"weight_decay": 1e-4},
    base_learning_rate=0.016,
    batch_size=64,
    epochs=60,
)

FAMILY = (
    _STL10,
    _CIFAR10,
    _CIFAR10_RESNET18,
    _CAMVID,
)
