"""The paper's recipes for ConvNeXt: two large views, six small."""

from keras_vicregl.recipes.recipe import Recipe

_ADAMW = {"weight_decay": 0.05}
_EIGHT_VIEWS = {
    "groups": [
        {"size": 224, "count": 2, "scale": [0.4, 1.0]},
        {"size": 96, "count": 6, "scale": [0.08, 0.4]},
    ]
}

# keras-vicregl pretrain --recipe convnext_small --data imagenet2012
_CONVNEXT_SMALL = Recipe(
    name="convnext_small",
    data="imagenet2012",
    time="not run",
    accuracy="not run here; published: ImageNet 74.6 %, VOC 67.5 %; with "
    "alpha=0.9 75.9 % and 66.7 %",
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

# keras-vicregl pretrain --recipe convnext_small_vicreg --data imagenet2012
_CONVNEXT_SMALL_VICREG = _CONVNEXT_SMALL.replace(
    name="convnext_small_vicreg",
    accuracy="not run",
    model={"alpha": 1.0},
)

# keras-vicregl pretrain --recipe convnext_base --data imagenet2012
_CONVNEXT_BASE = _CONVNEXT_SMALL.replace(
    name="convnext_base",
    accuracy="not run here; published: ImageNet 76.3 %, VOC 70.4 %; with "
    "alpha=0.9 77.1 % and 69.3 %",
    backbone="convnext_base",
    base_learning_rate=5e-4,
    batch_size=576,
    epochs=400,
)

FAMILY = (
    _CONVNEXT_SMALL,
    _CONVNEXT_SMALL_VICREG,
    _CONVNEXT_BASE,
)
