"""
Title: Does the local criterion help?
Author: The keras_vicregl authors
Date created: 2026/11/26
Last modified: 2026/11/26
Description: The ablation of the VICRegL paper on digit scenes, with several seeds.
Accelerator: None
"""

"""
The claim of VICRegL: at equal cost, the local criterion makes features better
for segmentation while classification keeps up. The paper's Table 3 takes it
apart on ImageNet and Pascal VOC: matches by location alone give 2.9 points of
mean IoU over VICReg, matches by feature alone 1.7, both 4.3.

`examples/ablation.py` does the same on digit scenes, where a run takes minutes:
10,000 images of 64 px, a ResNet of 192 features at stride 8, twelve epochs, the
same views and numbers of steps for all. Then the backbone is frozen. A linear
classifier and nearest neighbours judge its pooled features by the class of the
largest digit in a scene, a linear segmentation head its feature map by the
class of each pixel (ten digits and background).

What each run found is stored with the repository, in `guides/results/ablation`,
logs included. This page reads it; nothing is trained here.
"""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# From the folder of the repository, or from `guides`.
sys.path += [
    path for path in ("examples", "../examples") if os.path.isdir(path)
]

import ablation

from keras_vicregl.visualization import plot_ablation

results = ablation.read_results()
print(ablation.table(results))

"""
Means and standard deviations over seeds. The last column compares runs with the
same seed, which have the same initial weights and see the same views.

Bars are means, lines standard deviations, dots seeds, the dashed line VICReg:
"""

plot_ablation(
    {
        ablation.TITLES[method]: {
            title: [run["figures"][metric] for run in runs]
            for metric, title in ablation.METRICS.items()
        }
        for method, runs in results.items()
    },
    baseline=ablation.TITLES["vicreg"],
)
