r"""Evaluate a backbone: what its features are worth.

    python examples/evaluate.py runs/scenes/backbone.keras --data digit_scenes
    python examples/evaluate.py resnet50 --weights resnet50_alpha0.9 \
        --data imagenet2012 --test-split validation --size 224 \
        --protocols knn linear --options linear.learning_rate=[0.003,0.01,0.03]
    python examples/evaluate.py resnet50 --weights resnet50_alpha0.9 \
        --data voc_segmentation:VOC2012 --test-split val \
        --protocols train_segmentation

The command `keras-vicregl evaluate`, for those who have the repository and not
the package; `--help` lists the protocols. The model is a file that
`keras_vicregl.checkpoints.export` wrote (.keras, .onnx or the folder of a
SavedModel), the folder of a run, or the name of a backbone, with --weights a
published checkpoint or a .pth file. Figures are printed, and with --output kept
as JSON.

--options PROTOCOL.NAME=VALUE, with values in JSON, are arguments of the
functions `keras_vicregl.evaluation.evaluate_...`, `train_segmentation` and
`train_detection`; detection.size, detection.batch_size and detection.shuffle
are those of `keras_vicregl.data.detection_batches`.

Classes of the two splits are matched by name; --data-options ignore_label=11
names a label of masks that is no class.

--data is what `keras_vicregl.data.load` takes, or voc_segmentation:FOLDER,
cityscapes:FOLDER, ade20k:FOLDER or camvid:FOLDER, with the labels of these
benchmarks.
"""

import sys


def main():
    # What Python knows a program by: the package, when it is imported, then
    # leaves it to the command which backend Keras gets.
    sys.argv[0] = "keras-vicregl evaluate"
    from keras_vicregl.commands.main import run_alone

    sys.exit(run_alone("evaluate"))


if __name__ == "__main__":
    main()
