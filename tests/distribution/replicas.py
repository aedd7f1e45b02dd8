"""Two steps of training on some devices, through `fit`.

    python replicas.py FOLDER RUNS

`RUNS` is JSON, a list of `[name, processes, devices, cases]`: FOLDER gets
`NAME.npz` of what the first process has seen. A run is made of forks of a
process that has imported everything and used nothing, so that they are as new
processes, without the seconds that imports take. Exit codes are printed.
"""

import contextlib
import gc
import json
import os
import pathlib
import re
import signal
import socket
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

with contextlib.suppress(ImportError):
    import torch
import keras
import numpy as np
from keras import ops

sys.path.append(str(pathlib.Path(__file__).parents[1]))
from forked import start

from keras_vicregl import VICRegL, distribution, optimizers
from keras_vicregl.losses import vicregl_loss
from keras_vicregl.models.backbones import ConvNeXt, ResNet

BACKEND = keras.backend.backend()
ALL_TESTS = "ALL_TESTS" in os.environ
BATCH = 16
LARGE, SMALL = 24, 16  # pixels


def resnet():
    # TensorFlow traces each stage, for each device.
    stages = 1 if BACKEND == "tensorflow" and not ALL_TESTS else 2
    return ResNet(
        (1, 1)[:stages],
        (8, 16)[:stages],
        strides=(2, 2)[:stages],
        stem="small",
        # So that gradients reach the inside of the blocks.
        zero_init_residual=False,
    )


def convnext():
    return ConvNeXt((1, 1), (12, 16), stochastic_depth_rate=0.3, seed=1)


def shallow():
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, 4, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    return keras.Model(inputs, keras.layers.ReLU()(x))


def lars(**kwargs):
    return recording(optimizers.LARS)(0.05, eta=0.2, **kwargs)


def adamw(**kwargs):
    return recording(optimizers.AdamW)(1e-3, weight_decay=0.05, **kwargs)


CASES = {
    # A classifier, pairs that are cut off, gradients cut by the norm of all;
    # fewer samples than global channels, more than local ones.
    "resnet": {
        "network": resnet,
        "optimizer": lambda: lars(global_clipnorm=0.5),
        "model": {
            "local_expander_units": (16, 8),
            "num_classes": 7,
            "max_distance": 4.0,
        },
    },
    "convnext": {
        "network": convnext,
        "optimizer": adamw,
        # Stacked, views are in another order, and others of them dropped.
        "model": {"stack_views": False},
        "small_views": 2,
    },
    # What eight threads of TensorFlow trace in a minute.
    "shallow": {
        "network": shallow,
        "optimizer": lars,
        "model": {"num_classes": 7},
    },
    # Without anything but the paper's objective, and more of each size.
    "plain": {"network": resnet, "optimizer": lars, "small_views": 6},
    "maps": {
        "network": lambda: ConvNeXt((1,), (16,), stochastic_depth_rate=0),
        "optimizer": lars,
        "model": {"regularize": "maps", "num_matches": (None, 4)},
        "small_views": 6,
    },
    "bfloat16": {
        "network": shallow,
        "optimizer": lars,
        "precision": "mixed_bfloat16",
    },
    "float16": {
        "network": shallow,
        "optimizer": lars,
        "precision": "mixed_float16",
    },
    "recomputed": {
        "network": resnet,
        "optimizer": lars,
        "model": {"remat": True},
    },
    "accumulated": {
        "network": shallow,
        "optimizer": lambda: lars(gradient_accumulation_steps=2),
    },
    "executed": {
        "network": shallow,
        "optimizer": lars,
        "compile": {"steps_per_execution": 2},
    },
    # Of two devices: on one, batch norms take the batch in two parts.
    "unsynchronized": {
        "network": shallow,
        "optimizer": lars,
        "model": {"synchronized": False},
    },
}


def recording(kind):
    """An optimizer that keeps the gradients of its first step."""

    class Recording(kind):
        def build(self, variables):
            super().build(variables)
            self.seen = [self.add_variable(v.shape) for v in variables]

        def _backend_update_step(self, grads, trainable_variables, rate):
            first = ops.less(
                ops.convert_to_tensor(self.iterations),
                self.gradient_accumulation_steps or 1,
            )
            for gradient, seen in zip(grads, self.seen, strict=True):
                seen.assign(
                    ops.where(first, gradient, ops.convert_to_tensor(seen))
                )
            super()._backend_update_step(grads, trainable_variables, rate)

    return Recording


def examples(step, small_views=0):
    """A batch in which no two examples are alike, in mean and spread."""
    rng = np.random.default_rng(step)
    views, maps = [], []
    for size in (LARGE, LARGE, *[SMALL] * small_views):
        scale = np.linspace(0.3, 2.5, BATCH)[:, None, None, None]
        noise = rng.normal(size=(BATCH, size, size, 3))
        views.append(scale * noise + rng.normal(size=(BATCH, 1, 1, 3)))
        matrices = np.zeros((BATCH, 2, 3))
        matrices[:, (0, 1), (0, 1)] = rng.uniform(16, 40, (BATCH, 2))
        matrices[:, :, 2] = rng.uniform(0, 16, (BATCH, 2))
        maps.append(matrices)
    x = {
        "views": tuple(np.float32(view) for view in views),
        "view_to_source": tuple(np.float32(m) for m in maps),
    }
    return x, rng.integers(0, 7, BATCH).astype("int32")


class Batches(keras.utils.PyDataset):
    """Some batches, or shares of them."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def batches(steps, small_views, batch_size, start=(0, 0), shard=(0, 1)):
    """What `view_batches` would do with the batches of some steps."""
    process, processes = shard
    share = batch_size // processes
    shares = [
        keras.tree.map_structure(
            lambda array: array[process * share : (process + 1) * share],
            examples(step, small_views),
        )
        for step in steps
    ]
    if BACKEND != "tensorflow":
        return Batches(shares)
    import tensorflow as tf

    joined = keras.tree.map_structure(lambda *a: np.concatenate(a), *shares)
    return tf.data.Dataset.from_tensor_slices(joined).batch(share, True)


def normalize_halves(model):
    """Has batch norms see the batch as two devices would, each alone."""

    def in_halves(call):
        return lambda inputs, **kwargs: ops.concatenate(
            [call(half, **kwargs) for half in ops.split(inputs, 2)]
        )

    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            vars(layer)["call"] = in_halves(layer.call)


def train(case, setup, traced):
    """Logs of two steps, first gradients, and weights, as arrays."""
    options = CASES[case]
    small_views = options.get("small_views", 0)
    keras.utils.set_random_seed(1)
    keras.config.set_dtype_policy(options.get("precision", "float32"))
    with setup.scope():
        model = VICRegL(
            options["network"](),
            **{
                "expander_units": (48, 40),
                "local_expander_units": (24, 20),
                **options.get("model", {}),
            },
        )
        optimizer = options["optimizer"]()
        model.compile(
            optimizer,
            jit_compile=BACKEND == "jax",
            run_eagerly=not traced,
            **options.get("compile", {}),
        )
    if case == "unsynchronized" and setup.replicas == 1:
        normalize_halves(model)
    found = {}
    for epoch, steps in enumerate(
        [[0, 1]] if case == "executed" else [[0], [1]]
    ):
        make_batches = setup.batches(
            lambda steps=steps, **kwargs: batches(steps, small_views, **kwargs),
            BATCH,
        )
        data = make_batches()
        history = model.fit(
            data, initial_epoch=epoch, epochs=epoch + 1, verbose=0
        ).history
        for name, (value,) in history.items():
            found[f"{case}/log/{epoch}/{name}"] = value
    trained = {id(v) for v in model.trainable_variables}
    for index, variable in enumerate(model.variables):
        kind = "weight" if id(variable) in trained else "state"
        name = f"{case}/{kind}/{index:03d}/{variable.name}"
        found[name] = ops.convert_to_numpy(variable).astype("float32")
    for index, (seen, variable) in enumerate(
        zip(optimizer.seen, model.trainable_variables, strict=True)
    ):
        # Paths count the layers of a process.
        name = f"{case}/gradient/{index:03d}/{variable.name}"
        found[name] = ops.convert_to_numpy(seen)
    return found


def error_of_uneven_shares(setup):
    """What training says to a batch of 15 for two devices."""
    x, _ = examples(0)
    if setup.processes == 2:
        share = 8 - setup.process
        x = keras.tree.map_structure(lambda array: array[:share], x)
    else:
        x = keras.tree.map_structure(lambda array: array[:15], x)
    keras.config.set_dtype_policy("float32")
    with setup.scope():
        model = VICRegL(shallow(), alpha=1.0, expander_units=(8,))
        model.compile("sgd", jit_compile=BACKEND == "jax")
    try:
        model.fit(x, batch_size=15, verbose=0)
    except Exception as error:
        return str(error)
    return ""


def error_of_duplicates(setup):
    """What training says where both processes have the same examples."""

    def of_nobody(batch_size, start=(0, 0)):
        return batches([0], 0, batch_size // 2)

    keras.config.set_dtype_policy("float32")
    with setup.scope():
        model = VICRegL(shallow(), alpha=1.0, expander_units=(8,))
        model.compile("sgd", jit_compile=BACKEND == "jax")
    try:
        model.fit(setup.batches(of_nobody, BATCH)(), verbose=0)
    except Exception as error:
        return str(error)
    return ""


def floating_point_operations(setup):
    """Of loss and gradients of a device, as counted by the backend.

    And how many numbers the devices gather, under JAX, whose compiler decides.
    Once where the batch is smaller than the channels, and once where it is
    larger, with a search for matches in both.
    """
    counted = {}
    for form, size, channels in (("gram", 32, 64), ("covariance", 64, 24)):
        rng = np.random.default_rng(0)
        arrays = [
            rng.normal(size=shape).astype("float32")
            for shape in (
                *[(size, 4 * channels)] * 2,
                *[(size, 9, channels)] * 2,
                *[(size, 9, 2)] * 2,
            )
        ]
        counted[form] = {"torch": count_torch, "jax": count_jax}[BACKEND](
            arrays, setup
        )
    return counted


def loss_of(*tensors):
    a, b, c = tensors[:2], tensors[2:4], tensors[4:]
    return vicregl_loss(a, b, c, num_matches=(4, 2))["loss"]


def count_torch(arrays, setup):
    from torch.utils.flop_counter import FlopCounterMode

    tensors = [
        torch.tensor(array[setup.process :: setup.processes])
        for array in arrays
    ]
    for tensor in tensors[:4]:
        tensor.requires_grad_()
    with FlopCounterMode(display=False) as counter:
        loss_of(*tensors).backward()
    return counter.get_total_flops(), 0


def count_jax(arrays, setup):
    import jax

    mesh = jax.sharding.Mesh(jax.devices()[: setup.replicas], "batch")
    sharding = jax.NamedSharding(mesh, jax.P("batch"))
    tensors = [jax.device_put(array, sharding) for array in arrays]
    program = jax.jit(jax.value_and_grad(loss_of, argnums=(0, 1, 2, 3)))
    program = program.lower(*tensors).compile()
    gathered = re.findall(
        r"= f32\[([\d,]+)\]\S* all-gather\(", program.as_text()
    )
    sizes = [np.prod([int(n) for n in shape.split(",")]) for shape in gathered]
    return program.cost_analysis()["flops"], sum(sizes)


def is_traced(case, setup):
    """Whether a case is trained in graphs, which take TensorFlow far longer.

    With `ALL_TESTS` all are. Otherwise one is on two devices, and what is of
    two processes, where each operation of all devices would wait for the
    others.
    """
    return (
        BACKEND != "tensorflow"
        or ALL_TESTS
        or setup.processes > 1
        or (setup.replicas > 1 and case == "resnet")
    )


def work(path, kind, cases):
    """What one process does; the first one writes."""
    setup = distribution.auto(kind)
    found = {"replicas": setup.replicas, "processes": setup.processes}
    for case in cases:
        found.update(train(case, setup, is_traced(case, setup)))
    if setup.replicas == 2 and (BACKEND, setup.processes) != ("tensorflow", 2):
        found["uneven"] = error_of_uneven_shares(setup)
    if setup.processes == 2:
        found["duplicates"] = error_of_duplicates(setup)
    if BACKEND != "tensorflow" and (BACKEND, setup.processes) != ("jax", 2):
        for form, counts in floating_point_operations(setup).items():
            found[f"operations/{form}"], found[f"gathered/{form}"] = counts
    if setup.is_chief:
        np.savez(path, **found)
    distribution.end_together()


def environment(process, processes, devices, ports):
    """What a launcher would have set, and as many devices on the CPU."""
    if BACKEND == "torch":
        os.environ.update(
            WORLD_SIZE=str(processes),
            RANK=str(process),
            MASTER_ADDR="localhost",
            MASTER_PORT=str(ports[0]),
        )
        torch.set_num_threads(1)
    elif BACKEND == "jax":
        os.environ["XLA_FLAGS"] = (
            os.environ.get("XLA_FLAGS", "")
            + f" --xla_force_host_platform_device_count={devices}"
        )
        if processes > 1:
            os.environ.update(
                JAX_COORDINATOR_ADDRESS=f"localhost:{ports[0]}",
                JAX_NUM_PROCESSES=str(processes),
                JAX_PROCESS_ID=str(process),
            )
            import jax

            jax.config.update("jax_cpu_collectives_implementation", "gloo")
    else:
        import tensorflow as tf

        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0],
            [tf.config.LogicalDeviceConfiguration()] * devices,
        )
        if processes > 1:
            workers = [f"localhost:{port}" for port in ports]
            os.environ["TF_CONFIG"] = json.dumps(
                {
                    "cluster": {"worker": workers},
                    "task": {"type": "worker", "index": process},
                }
            )


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


def codes_and_ends(children, seconds=400):
    """Exit code of each, and when it ended.

    What has not ended after so many seconds says where its threads are, and is
    killed: processes that wait for one another would do so for ever.
    """
    ended = {}
    limit = time.monotonic() + seconds
    while len(ended) < len(children):
        for child in set(children) - ended.keys():
            process, status = os.waitpid(child, os.WNOHANG)
            if process:
                code = os.waitstatus_to_exitcode(status)
                ended[child] = code, time.monotonic()
        if time.monotonic() > limit:
            for child in set(children) - ended.keys():
                # With `faulthandler`, it says so.
                os.kill(child, signal.SIGABRT)
            limit += seconds
        time.sleep(0.02)
    return [ended[child] for child in children]


def strategy(processes, devices):
    """What the backend calls so many devices."""
    if processes * devices == 1:
        return "none"
    return {
        "tensorflow": "mirrored" if processes == 1 else "multi_worker",
        "jax": "data_parallel",
        "torch": "process_group",
    }[BACKEND]


def run(folder, name, processes, devices, cases):
    """The exit codes of the processes of a run."""
    ports = free_ports(processes)

    def one(process):
        environment(process, processes, devices, ports)
        kind = strategy(processes, devices)
        work(folder / f"{name}.npz", kind, cases)

    return [
        code
        for code, _ in codes_and_ends(
            [
                start(lambda process=process: one(process))
                for process in range(processes)
            ]
        )
    ]


def main():
    folder = pathlib.Path(sys.argv[1])
    gc.freeze()  # not for collections of forks
    codes = {
        name: run(folder, name, *rest)
        for name, *rest in json.loads(sys.argv[2])
    }
    print(json.dumps(codes))


if __name__ == "__main__":
    main()
