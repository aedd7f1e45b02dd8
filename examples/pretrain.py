"""Pretrain a backbone by one of the recipes, on any data set.

    python examples/pretrain.py photographs/
    python examples/pretrain.py --recipe resnet50 --data imagenet2012
    python examples/pretrain.py --recipe scenes --data digit_scenes
    python examples/pretrain.py --config runs/mine/config.json --output again

The command `keras-vicregl pretrain`, for those who have the repository and not
the package. A run may be stopped, or die, at any time: the same command
continues it from its last checkpoint, exactly
(`keras_vicregl.training.pretrain`): bit for bit with --deterministic, and else
as alike as two runs of one backend are. Ctrl-C and SIGTERM save before they
stop; the exit code is then 130 or 143. It is 1 after an error, such as a loss
that is not finite (--skip-nonfinite 1 leaves such a batch out), 2 where the
arguments are at fault, and 0 when the last epoch is done. Settings stay those
that the run began with, unless --allow-changes is given; --epochs alone may be
more or fewer.

--output, by default runs/RECIPE, gets config.json, from which the run can be
repeated, logs, curves, checkpoints and the exported backbone. Without --recipe
one is chosen by the number and the size of the images, and a batch that fits
the memory; both are told. --model, --views and --optimizer replace anything in
it, with values in JSON:

    --model num_matches=[20,4] --optimizer weight_decay=1e-6 use_ema=true
    --views size=96 blur=0.5

Memory too small for a batch: --optimizer gradient_accumulation_steps=4.

All GPUs of a machine, or a TPU, are used (--strategy none: one). Several
machines, and PyTorch with several GPUs, take a process each, started by
torchrun, srun or with TF_CONFIG, with an --output that they share
(`keras_vicregl.distribution.auto`). The batch size is that of all devices.
"""

import sys


def main():
    # What Python knows a program by: the package, when it is imported, then
    # leaves it to the command which backend Keras gets.
    sys.argv[0] = "keras-vicregl pretrain"
    from keras_vicregl.commands.main import run_alone

    sys.exit(run_alone("pretrain"))


if __name__ == "__main__":
    main()
