"""Recipes: networks, views and training as plain data.

The paper's (its appendix and Tables 1 and 3), and small ones. Each opens with
the command that trains it, the time that takes and the accuracy it reaches;
"not run" is to be read literally. Accuracies of the paper: ImageNet is the
top-1 accuracy of a linear classifier, VOC the mean IoU of a linear segmentation
head, both on the frozen backbone.

`RECIPES["resnet50"]` builds what it describes: `make_views()`, `make_model()`,
`make_optimizer(steps_per_epoch)`; all take arguments that replace the recipe's.

One file a family, each opening with what it is for. A recipe stands on all
that it builds - views, backbones, models, optimizers - and trainings, scripts
and guides use it.
"""

from keras_vicregl.recipes.recipe import PRECISIONS, Recipe
from keras_vicregl.recipes.table import RECIPES

__all__ = ["PRECISIONS", "RECIPES", "Recipe"]
