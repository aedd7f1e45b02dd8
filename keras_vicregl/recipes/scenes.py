"""Digit scenes, which come with this package: minutes on a laptop."""

from keras_vicregl.recipes.recipe import Recipe
from keras_vicregl.views.multi_view import SCENES_COLORS

# keras-vicregl pretrain --recipe scenes --data digit_scenes
_SCENES = Recipe(
    name="scenes",
    data="digit_scenes",
    time="3 to 4 minutes on 2 CPU cores, TensorFlow, with 10,000 scenes",
    accuracy="measured by `make demo`, with Keras' own AdamW: linear top-1 "
    "48.4 %, kNN 17.2 %, linear mIoU 16.7 %",
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
        **SCENES_COLORS,
    },
    optimizer="adamw",
    optimizer_arguments={"weight_decay": 1e-4},
    base_learning_rate=0.016,
    batch_size=64,
    epochs=8,
    warmup_epochs=0.8,
)

FAMILY = (_SCENES,)
