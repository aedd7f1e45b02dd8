"""
Title: Pretraining on many devices
Author: The keras_vicregl authors
Date created: 2026/11/25
Last modified: 2026/11/27
Description: One VICRegL model on several GPUs, several machines or a TPU.
Accelerator: None
"""

"""
The VICReg criterion is made of statistics of a batch: variances and
covariances. On several devices they must be those of the *whole* batch. Where
each device takes those of its share, the loss changes with the number of
devices; where the shares are gathered but gradients are not passed back through
the gathering, weights get gradients that are wrong by about the number of
devices, and nothing crashes.

Here N devices compute what one device with the same batch would: the loss,
every gradient, the statistics of batch normalisation, and so the weights after
a step, up to rounding. The tests hold the three backends to 2e-5 through `fit`:
on 2 and 8 devices always, on 4 and in more combinations with `ALL_TESTS=1`.
Vectors that start at zero are held to 1e-4 under AdamW, which divides small
gradients by their size, rounding included.

This page is a script. It runs on whatever there is: on one device as well.
"""

import functools
import importlib.util
import os

# Any of the three that is installed.
backends = filter(importlib.util.find_spec, ("tensorflow", "jax", "torch"))
os.environ.setdefault("KERAS_BACKEND", next(backends))

import keras

from keras_vicregl import VICRegL, distribution
from keras_vicregl.data import load, view_batches
from keras_vicregl.recipes import RECIPES

"""
## One call

`distribution.auto` looks at the machine and its environment and sets up the
strategy of the backend. It comes first, before anything is computed.
"""

setup = distribution.auto()
print(setup)

"""
The model is made and compiled in its scope, and its batches are those of the
setup. `batch_size` is that of all devices together, and must divide by their
number.
"""

recipe = RECIPES["scenes"]
images = load("digit_scenes", "train", count=64)
views = recipe.make_views(on="device")
batch_size = 16
with setup.scope():
    model = recipe.make_model(
        expander_units=(64,), local_expander_units=(32,), views=views
    )
    model.compile(keras.optimizers.AdamW(1e-3))
make_batches = setup.batches(
    functools.partial(
        view_batches,
        images,
        views,
        seed=0,
    ),
    batch_size,
)
model.fit(make_batches(), epochs=1, verbose=2 if setup.is_chief else 0)
assert isinstance(model, VICRegL)

"""
`keras_vicregl.training.pretrain(model, make_batches, ...)` does the rest of a
long training, and the command `keras-vicregl pretrain` all of it.

## The batches of each process

`setup.batches` calls the function that it is given with those of three arguments
that this takes:

| argument | what | a function without it |
|---|---|---|
| `batch_size` | examples in a batch, over all processes and devices | makes batches of the right size itself; another is an error at the first batch |
| `shard=(process, processes)` | which share of each batch this process trains on: rows `process * batch_size / processes` to `(process + 1) * batch_size / processes` | shares out batches itself, as with a `DistributedSampler` of PyTorch; the share's size is looked at |
| `start=(epoch, step)` | where the first iteration begins, each further one being an epoch | cannot go on in the middle of a training: `pretrain` warns |

`view_batches` and `ArrayBatches` take all three, and [your own
loader](your_own_loader.md) can. Under a strategy of TensorFlow it returns a
`tf.data.Dataset`, elsewhere whatever `fit` takes. In one process `shard` is left
out, or (0, 1) where a function needs it.

Batches that nobody shares out would train each process on the same examples,
and no number would tell. So the first batches of all processes are compared, in
a digest of eight rows of everything in them, and equal ones are an error before
the first step. Only where all rows of a batch are alike, as in a measurement of
speed on zeros, nothing can be told, and nothing is said.

## One machine with several GPUs

TensorFlow and JAX use all of them from one process:

```shell
keras-vicregl pretrain --recipe resnet50 --data imagenet2012
keras-vicregl pretrain --recipe resnet50 --data imagenet2012 --backend jax
```

PyTorch takes a process for each:

```shell
torchrun --nproc-per-node 8 -m keras_vicregl pretrain --backend torch \
    --recipe resnet50 --data imagenet2012
```

Under JAX and PyTorch TensorFlow, where it is installed, reads images and makes
those views that are made on the host. GPUs are hidden from it: it would take
most of their memory with its first tensor.
What uses TensorFlow before `keras_vicregl` is imported must hide them itself,
by `tf.config.set_visible_devices([], "GPU")`, and a warning says so.

## Several machines

The same command on each, with an `--output` that all of them share: the first
process writes checkpoints and logs, and all read. Under SLURM,
`srun keras-vicregl pretrain ...` is enough on each backend. Otherwise:

| backend | what says who is who |
|---|---|
| TensorFlow | `TF_CONFIG`, with the addresses of all workers and the index of this one |
| JAX | `JAX_COORDINATOR_ADDRESS=host:port`, `JAX_NUM_PROCESSES`, `JAX_PROCESS_ID` |
| PyTorch | `torchrun --nnodes 4 --nproc-per-node 8 --rdzv-backend c10d --rdzv-endpoint host:port ...` |

Process p of P makes the views of rows p B / P to (p + 1) B / P of each batch of
B: nothing is made twice and nothing is left out, and the batches are those of
one process.

Where a process dies, the others stop with an error: within seconds under
TensorFlow and with PyTorch's gloo, where connections break, and under JAX at
the latest when its coordinator has missed 30 seconds of heartbeats (measured on
CPUs: 0.1, 8 and less than 60 seconds for PyTorch, TensorFlow and JAX). NCCL
waits for ten minutes: there let the launcher end the others, as torchrun does
by itself and srun with `--kill-on-bad-exit`. Start all of them again with the
same command, and training goes on from the last checkpoint. That may be on another
number of devices: a checkpoint knows the batch size, not the devices.
Ctrl-C or SIGTERM to any of the processes make all of them save and stop.

The first process prints and logs. Images a second are those of all processes
together; the share of the time without data and the peak of the memory are its
own. Where a strategy of TensorFlow distributes batches it takes them ahead, so
that nobody sees it wait.

## A TPU

```shell
TPU_NAME=local keras-vicregl pretrain --recipe convnext_small ...
keras-vicregl pretrain --recipe convnext_small --backend jax ...
```

*This has not been run on a TPU.* What can be checked without one is: the step
compiles under XLA with static shapes, with no operation of the host in it, and
under JAX the same program is sharded over 8 devices. Batches are cut into
shares whose size is known when the step is compiled. Each host of a slice asks
for its own share of them.

## What is the same, what to scale

- The same: losses, gradients, batch normalisation (`VICRegL(synchronized=False)`
  has it per device), random numbers of stochastic depth, the order of examples,
  their views, logs.
- A larger batch on more devices is another training: learning rates are *per
  256 examples* in the recipes (`base * batch / 256`), as in the paper, and
  `recipe.make_optimizer` does it. Fewer steps make an epoch.
- Float32 rounds differently when sums are made in another order. Two runs on 1
  and 8 devices are the same in each step to 1e-5, not bit by bit, and drift
  apart over thousands of steps as two runs with different rounding do.

## What accelerators round

GPUs from NVIDIA's Ampere on and TPUs round the factors of float32 products, to
11 or 8 of their 24 bits, unless asked otherwise. That is what backbone and
expanders get. All products of the objective and its gradients, of linear heads
and of nearest neighbours ask for float32: rounded, they would pick other matches
and move covariances in the third digit.

| | how | what is not possible |
|---|---|---|
| JAX | each product, and its gradients, asks for the highest precision | |
| TensorFlow | while TF32 is allowed, as by default, and there is a GPU that has it, or a TPU, a product is made of six, of parts that no device rounds | asking for one product: `tf.config.experimental.enable_tensor_float_32_execution(False)` is for the whole process, backbone included, and then products are single |
| PyTorch | products are in float32 by default; if you have allowed TF32, the switches are set back for the moment of a product | asking for one product: what other threads make in this moment is in float32 too |

`keras_vicregl.precision` has the details. *This has not been run on an
accelerator*; the tests read the programs of JAX and TensorFlow, and round
factors on the CPU as a TPU does.

## What does not work

Not every combination works in Keras; those that do not are refused before
training, with a way around:

| | TensorFlow | JAX | PyTorch |
|---|---|---|---|
| gradient accumulation | refused | not tested | not tested |
| `steps_per_execution` | refused, but on TPUs | not tested | refused by Keras |
| `jit_compile=True` | refused, but on TPUs | always | not tested |
| a batch that does not divide by the devices | refused | refused | refused |

## What it costs

Each device computes its share of the products that make the covariances:
1 / N of one device's. What it sends and receives beside the gradients depends
on the form the statistics take. Of slots of `(B, C)` embeddings (one slot a
view for the global criterion, one a position for the local one):

- `B < C`: the embeddings of all devices are gathered, `B x C` numbers;
- otherwise: the covariances are summed, `C x C` numbers, which takes two rounds
  of a ring.

So few multiplications are made as possible. Bytes are the fewest as well, but
for B between C and 2 C, where they are up to twice as many. JAX's compiler
gathers twice, as the product has the embeddings on both sides.
"""


def mebibytes_sent(batch, channels, slots, devices):
    """By each device, in rings of float32: gathering, and summing."""
    passed_on = 4 * slots * (devices - 1) / devices / 2**20
    return batch * channels * passed_on, 2 * channels**2 * passed_on


# Views of 7 x 7 positions: the maps of both views, their neighbours by feature
# both ways, and both sides of the 20 and the 4 best by location both ways.
PARTS = {
    "global, 2 x 8192": (8192, 2),
    "local, 292 x 512": (512, 2 * 49 + 2 * 49 + 2 * 2 * (20 + 4)),
}
print("| part | devices | batch | gathered, MiB | summed, MiB |")
print("|---|---:|---:|---:|---:|")
for name, (channels, slots) in PARTS.items():
    for devices in (8, 64, 256, 1024):
        batch = 32 * devices
        sent = mebibytes_sent(batch, channels, slots, devices)
        used = 0 if batch < channels else 1
        cells = [f"{s:,.0f}" for s in sent]
        cells[used] = f"**{cells[used]}**"
        print(f"| {name} | {devices} | {batch} | {' | '.join(cells)} |")

"""
For comparison: the gradients of a ResNet-50 with the paper's expanders are 672
MiB, of which each device sends twice as much, 1,344 MiB, whatever the number of
devices. The statistics of the paper's batch of 2048 are a tenth of that for the
global criterion and 40 % for the local one; from a batch of 8192 on the
global one is three quarters. Neither grows with the devices once its
covariances are summed. Batch normalisation adds two short sums a layer and
view, and as many backwards: latency, not bytes.
"""
