"""What `auto` makes of an environment, and what is refused."""

import functools
import json
import warnings

import keras
import numpy as np
import pytest

from keras_vicregl import VICRegL, distribution
from keras_vicregl.distribution.environment import launchers

BACKEND = keras.backend.backend()


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in ("TF_CONFIG", "TPU_NAME", "WORLD_SIZE", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def slurm(monkeypatch):
    """The environment of a task, of a step of four on two hosts."""
    monkeypatch.setenv("SLURM_PROCID", "2")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "4")
    monkeypatch.setenv("SLURM_STEP_NODELIST", "gpu[07-08]")
    monkeypatch.setenv("SLURM_JOB_ID", "30042")


def test_one_device_is_left_alone():
    setup = distribution.auto()
    assert setup == distribution.Setup()
    assert setup.is_chief
    assert str(setup) == "one device"
    assert setup.batches(dict, 7)(start=(0, 1)) == {
        "batch_size": 7,
        "start": (0, 1),
    }


def test_a_strategy_that_is_not_the_backends():
    with pytest.raises(ValueError, match=f"{BACKEND!r} must be 'auto' or"):
        distribution.auto("horovod")


def test_a_strategy_that_the_machine_does_not_offer():
    several = {
        "tensorflow": ("multi_worker", "TF_CONFIG speaks of 0"),
        "jax": ("data_parallel", "needs several devices"),
        "torch": ("process_group", "torchrun --nproc-per-node"),
    }
    name, message = several[BACKEND]
    with pytest.raises(ValueError, match=message):
        distribution.auto(name)


def test_batches_that_do_not_divide():
    setup = distribution.Setup("some", replicas=4, processes=2, process=1)
    with pytest.raises(ValueError, match=r"batch_size=10.*4 devices.*=12"):
        setup.batches(print, 10)


def test_each_process_takes_its_share():
    setup = distribution.Setup("some", replicas=4, processes=2, process=1)
    make_batches = setup.batches(lambda **kwargs: kwargs, 8)
    assert make_batches(start=(3, 2)) == {
        "start": (3, 2),
        "shard": (1, 2),
        "batch_size": 8,
    }
    assert not setup.is_chief
    assert str(setup) == "4 devices in 2 processes (some)"


TWO = distribution.Setup("some", replicas=2, processes=2, process=1)


def given(**kwargs):
    return kwargs


@pytest.mark.parametrize(
    ("make_batches", "expected"),
    [
        (lambda: given(), {}),
        (lambda start: given(start=start), {"start": (3, 2)}),
        (
            lambda shard, start=None: given(shard=shard, start=start),
            {"shard": (1, 2), "start": (3, 2)},
        ),
        (
            lambda batch_size, seed=0, start=(0, 0): given(
                batch_size=batch_size, start=start
            ),
            {"batch_size": 8, "start": (3, 2)},
        ),
        (
            functools.partial(lambda seed, start: given(seed=seed), 5),
            {"seed": 5},
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*takes no `start`")
def test_a_function_is_told_what_it_asks_for(make_batches, expected):
    assert TWO.batches(make_batches, 8)(start=(3, 2)) == expected
    alone = distribution.Setup().batches(make_batches, 8)(start=(3, 2))
    if "shard" in expected:
        expected = {**expected, "shard": (0, 1)}
    assert alone == expected


def test_what_a_function_needs_it_gets():
    setup = distribution.Setup()
    made = setup.batches(lambda shard, start: given(shard=shard, at=start), 8)
    assert made() == {"shard": (0, 1), "at": (0, 0)}


def test_a_bound_seed_is_seen_in_what_is_made():
    """By `pretrain`, which remembers it."""
    make_batches = functools.partial(lambda seed, start: given(), seed=5)
    made = TWO.batches(make_batches, 8)
    assert isinstance(made, functools.partial)
    assert made.keywords["seed"] == 5


def test_whoever_cannot_start_in_the_middle_is_told_once():
    made = TWO.batches(lambda: given(), 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made()
    with pytest.warns(UserWarning, match=r"takes no `start`.*\(epoch, step\)"):
        made(start=(0, 0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made(start=(0, 0))


def test_a_function_that_needs_more_is_an_error_before_training():
    with pytest.raises(ValueError, match=r"'seed'\. Bind others by functools"):
        TWO.batches(lambda seed, start: given(), 8)


def rows(count):
    return ({"views": (np.zeros((count, 8, 8, 3)),) * 2} for _ in range(2))


def test_shares_have_their_size():
    assert len([*TWO.batches(lambda start: rows(4), 8)(start=(0, 0))]) == 2
    with pytest.raises(ValueError, match=r"must have 4 examples.*received 8"):
        next(TWO.batches(lambda start: rows(8), 8)(start=(0, 0)))
    alone = distribution.Setup()
    with pytest.raises(ValueError, match=r"must have 8 examples.*received 4"):
        next(alone.batches(lambda start: rows(4), 8)(start=(0, 0)))


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return next(rows(4))


@pytest.mark.skipif(BACKEND == "tensorflow", reason="data sets of tf.data")
def test_shares_of_what_has_a_length_are_looked_at_in_training():
    backbone = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 4, 4)]
    )
    model = VICRegL(backbone, alpha=1.0, expander_units=(4,))
    model.compile("sgd")
    batches = distribution.Setup().batches(lambda start: Sequence(), 8)
    with pytest.raises(ValueError, match=r"must have 8 examples.*received 4"):
        model.fit(batches(start=(0, 0)), verbose=0)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("WORLD_SIZE", "2", "WORLD_SIZE is 2"),
        ("JAX_NUM_PROCESSES", "3", "JAX_NUM_PROCESSES is 3"),
        ("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}}', "2 workers"),
    ],
)
def test_several_processes_must_not_train_alone(
    monkeypatch, name, value, message
):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=f"strategy='none'.*{message}"):
        distribution.auto("none")


@pytest.mark.parametrize(
    "text, hosts",
    [
        ("login", ["login"]),
        ("gpu[1-3,07],login", ["gpu1", "gpu2", "gpu3", "gpu07", "login"]),
        ("r[08-10]n1,r2", ["r08n1", "r09n1", "r10n1", "r2"]),
    ],
)
def test_lists_of_hosts(monkeypatch, text, hosts):
    monkeypatch.setenv("SLURM_STEP_NODELIST", text)
    assert launchers.slurm_hosts() == hosts


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TF_CONFIG")
def test_slurm_as_workers(monkeypatch, slurm):
    from keras_vicregl.distribution.environment import (
        tensorflow as _setup_tensorflow,
    )

    made = []
    monkeypatch.setattr(_setup_tensorflow, "_make", made.append)
    monkeypatch.setenv("TF_CONFIG", "")  # restored afterwards
    with pytest.raises(AttributeError):  # of the strategy that is not made
        distribution.auto()
    assert made == ["multi_worker"]
    config = json.loads(_setup_tensorflow.os.environ["TF_CONFIG"])
    assert config["task"] == {"type": "worker", "index": 2}
    assert config["cluster"]["worker"] == [
        "gpu07:22042",
        "gpu07:22043",
        "gpu08:22042",
        "gpu08:22043",
    ]


@pytest.mark.skipif(BACKEND != "torch", reason="process groups")
def test_slurm_as_process_group(monkeypatch, slurm):
    import os

    import torch.distributed as dist

    started = []
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(dist, "init_process_group", started.append)
    monkeypatch.setattr(dist, "get_world_size", lambda: 4)
    monkeypatch.setattr(dist, "get_rank", lambda: 2)
    monkeypatch.setenv("WORLD_SIZE", "")
    monkeypatch.delenv("WORLD_SIZE")
    setup = distribution.auto()
    assert (setup.replicas, setup.processes, setup.process) == (4, 4, 2)
    assert len(started) == 1
    assert os.environ["MASTER_ADDR"] == "gpu07"
    assert os.environ["MASTER_PORT"] == "22042"
    assert (os.environ["RANK"], os.environ["WORLD_SIZE"]) == ("2", "4")


@pytest.mark.skipif(BACKEND != "jax", reason="coordinators")
@pytest.mark.parametrize("prefix", ["JAX", "KERAS"])
def test_addresses_as_processes(monkeypatch, prefix):
    from keras_vicregl.distribution.environment import jax as _setup_jax

    address, *others = (
        ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        if prefix == "JAX"
        else (
            "KERAS_DISTRIBUTION_JOB_ADDRESSES",
            "KERAS_DISTRIBUTION_NUM_PROCESSES",
            "KERAS_DISTRIBUTION_PROCESS_ID",
        )
    )
    monkeypatch.setenv(address, "10.0.0.1:1234,10.0.0.2:2345")
    for name, value in zip(others, ("2", "1"), strict=True):
        monkeypatch.setenv(name, value)
    assert _setup_jax._settings() == {
        "coordinator_address": "10.0.0.1:1234",
        "num_processes": 2,
        "process_id": 1,
    }


class TwoReplicas:
    """What of a strategy is looked at before training."""

    num_replicas_in_sync = 2


@pytest.mark.skipif(BACKEND != "tensorflow", reason="tf.distribute")
@pytest.mark.parametrize(
    "optimizer, arguments, message",
    [
        (
            {"gradient_accumulation_steps": 2},
            {},
            "gradient_accumulation_steps=2.*TwoReplicas with 2.*remat=True",
        ),
        ({}, {"steps_per_execution": 3}, "steps_per_execution=3.*=1"),
        ({}, {"jit_compile": True}, "jit_compile=True.*backend jax"),
    ],
)
def test_what_keras_cannot_do_is_refused(
    monkeypatch, optimizer, arguments, message
):
    backbone = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 4, 4)]
    )
    model = VICRegL(backbone, alpha=1.0, expander_units=(4,))
    model.compile(keras.optimizers.SGD(**optimizer), **arguments)
    monkeypatch.setattr(
        type(model), "distribute_strategy", TwoReplicas(), raising=False
    )
    with pytest.raises(ValueError, match=message):
        model.make_train_function()


def test_moments_of_one_replica_are_those_of_keras():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype("float32")
    layers = [keras.layers.BatchNormalization() for _ in range(2)]
    models = [keras.Sequential([keras.Input((3,)), a]) for a in layers]
    distribution.synchronize_batch_normalization(models[0])
    ours, theirs = (
        keras.ops.convert_to_numpy(model(x, training=True)) for model in models
    )
    np.testing.assert_array_equal(ours, theirs)
    assert layers[0].get_config()["synchronized"] is False
    distribution.synchronize_batch_normalization(models[0], False)
    assert vars(layers[0]).keys() == vars(layers[1]).keys()
