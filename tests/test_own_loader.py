"""The loader of the guide "Your own loader", killed and resumed.

On images whose pixels are their own coordinates: what training sees is where
its maps say that it is, and is the same after a kill.
"""

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

GUIDES = pathlib.Path(__file__).parents[1] / "guides"

pytestmark = [
    pytest.mark.skipif(
        keras.backend.backend() != "torch" and "ALL_TESTS" not in os.environ,
        reason="once is enough",
    )
]

# Each life is a fork of a process that has imported everything, and used
# nothing of a backend. What its steps see is written when it is seen.
LIVES = """
import functools, json, os, pathlib, signal, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
sys.path.append(sys.argv[3])
import render
from forked import code_of, start

page = {"__name__": "page"}
for cell in render.read(pathlib.Path(sys.argv[1]) / "your_own_loader.py"):
    if cell.nodes is None:
        continue
    # What the page defines, without what it does.
    for node in cell.nodes:
        kind = type(node).__name__
        if kind in ("Import", "ImportFrom", "ClassDef", "FunctionDef", "Try"):
            exec(compile(render.ast.Module([node], []), "page", "exec"), page)
        elif kind == "Assign" and node.targets[0].id in ("VIEW", "MEAN", "STD"):
            exec(compile(render.ast.Module([node], []), "page", "exec"), page)

def live(folder, death):
    import keras
    from keras_vicregl import VICRegL, distribution
    from keras_vicregl.training import _callbacks

    _callbacks.Curves.draw = lambda self: None
    ramps = [page["coordinates"](40 + 2 * i, 64 - i) for i in range(8)]
    page["VIEW"] = (24, 20)
    page["workers"] = 1
    data = page["Crops"](ramps, mean=np.float32(0), std=np.float32(1 / 255))

    class Seeing(VICRegL):
        def train_step(self, data):
            batch = keras.tree.map_structure(
                keras.ops.convert_to_numpy,
                keras.utils.unpack_x_y_sample_weight(data)[0],
            )
            row = {
                "error": float(page["largest_error"](batch)),
                "flips": int((batch["view_to_source"][0][:, 0, 0] < 0).sum()),
                "sums": [float(np.sum(view)) for view in batch["views"]],
            }
            with open(folder / "seen.jsonl", "a") as file:
                file.write(json.dumps(row) + "\\n")
            return super().train_step(data)

    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 4, 4)(inputs)
    model = Seeing(
        keras.Model(inputs, x), expander_units=(4,), local_expander_units=(4,),
        num_matches=(2, 2),
    )
    # Pixels are as they are: steps must be small.
    model.compile(keras.optimizers.SGD(1e-6))
    def kill(batch, logs):
        if (epochs[-1], batch) == death:
            os.kill(os.getpid(), signal.SIGKILL)
    epochs = []
    page["pretrain"](
        model,
        lambda start: page["make_batches"](2, start=start, data=data),
        epochs=2, output=folder / "run", verbose=0, save_freq=1,
        callbacks=[keras.callbacks.LambdaCallback(
            on_epoch_begin=lambda epoch, logs: epochs.append(epoch),
            on_train_batch_end=kill,
        )],
    )
    np.savez(folder / "final.npz", *model.get_weights())

folder = pathlib.Path(sys.argv[2])
codes = {}
for name, deaths in {"whole": [None], "killed": [(0, 2), (1, 1), None]}.items():
    (folder / name).mkdir()
    codes[name] = [
        code_of(start(functools.partial(live, folder / name, death)))
        for death in deaths
    ]
print(json.dumps(codes))
"""


@pytest.fixture(scope="module")
def lives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own loader")
    done = subprocess.run(
        [sys.executable, "-c", LIVES, GUIDES, folder, GUIDES.parent / "tests"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    codes = json.loads(done.stdout.splitlines()[-1])
    assert codes == {"whole": [0], "killed": [-9, -9, 0]}, done.stderr
    return folder


def seen(folder):
    lines = (folder / "seen.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_training_sees_what_the_maps_say(lives):
    rows = seen(lives / "whole")
    assert len(rows) == 8
    # A bilinear kernel, widened for a reduction, is off by up to 0.1 px on a
    # ramp; half a pixel is the usual mistake.
    assert max(row["error"] for row in rows) < 0.1
    assert 0 < sum(row["flips"] for row in rows) < 16
    assert len({tuple(row["sums"]) for row in rows}) == 8


def test_killed_and_resumed_it_sees_the_same(lives):
    # Step 2 of the first epoch was trained, and not saved; likewise step 1 of
    # the second.
    expected = seen(lives / "whole")
    assert seen(lives / "killed") == [
        *expected[:3],
        *expected[2:6],
        *expected[5:],
    ]


def test_weights_are_those_of_the_whole_training(lives):
    with (
        np.load(lives / "killed" / "final.npz") as killed,
        np.load(lives / "whole" / "final.npz") as whole,
    ):
        assert killed.files == whole.files
        for name in whole.files:
            np.testing.assert_array_equal(killed[name], whole[name])
