"""A small training by several processes, of which some die.

    python together.py FOLDER PLANS

`PLANS` is JSON: a list of trainings `[name, [plan, ...]]`. A plan is a list
with an entry a process, for one life of all of them: `null` where it lasts to
the end, or `[moment, count]` as in `lives.py`, whose data these are. Printed as
JSON: of each life the exit codes and the seconds until the last process ended
after the first.
"""

import atexit
import contextlib
import gc
import json
import os
import pathlib
import sys

from lives import (
    BATCH,
    EPOCHS,
    SAVE_FREQ,
    StochasticDepth,
    deaths,
    images,
    keras,
    np,
    tf,
    view_batches,
    views,
)
from replicas import (
    codes_and_ends,
    environment,
    free_ports,
    start,
    strategy,
)

from keras_vicregl import VICRegL, distribution, optimizers
from keras_vicregl.training import TrainingInterrupted, pretrain

STEPS = 12  # more than pass between questions for signals


def backbone():
    """What has state, and is the same on any number of devices."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, 2, padding="same")(inputs)
    x = keras.layers.BatchNormalization(momentum=0.9)(x)
    x = keras.layers.ReLU()(x)
    branch = keras.layers.Conv2D(8, 3, padding="same")(x)
    return keras.Model(inputs, x + StochasticDepth(0.3, seed=2)(branch))


def views_of_examples(batch):
    """Those of `lives.py`, but that noise is of examples, not of a batch."""
    noise = tf.map_fn(
        lambda seed: tf.random.stateless_normal((8, 8, 3), seed),
        batch["seeds"],
        fn_output_signature=tf.float32,
    )
    made = views(batch)
    plain = tf.cast(batch["images"], tf.float32) / 255
    return {**made, "views": (plain + 0.2 * noise, plain - 0.2 * noise)}


def batches(batch_size, **kwargs):
    return view_batches(
        images(STEPS),
        views_of_examples,
        batch_size=batch_size,
        seed=3,
        **kwargs,
    )


def live(folder, plan, kind):
    setup = distribution.auto(kind)
    callbacks = deaths(plan)
    keras.utils.set_random_seed(0)
    with setup.scope():
        model = VICRegL(
            backbone(), alpha=1.0, expander_units=(8, 6), num_classes=3
        )
        model.compile(optimizers.AdamW(0.02, weight_decay=0.05, use_ema=True))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"printed-{setup.process}.txt"
    try:
        with open(path, "a") as printed, contextlib.redirect_stdout(printed):
            pretrain(
                model,
                setup.batches(batches, BATCH),
                epochs=EPOCHS,
                output=folder,
                save_freq=SAVE_FREQ,
                log_every=2,
                callbacks=callbacks,
            )
    except TrainingInterrupted as interruption:
        os._exit(interruption.exit_code)
    except RuntimeError:
        # As where a script ends: what backends do there may wait for others.
        atexit._run_exitfuncs()
        raise
    if setup.is_chief:
        np.savez(
            folder / "final.npz",
            *(keras.ops.convert_to_numpy(v) for v in model.variables),
        )


def together(folder, plan):
    """Exit codes of one life of all processes, and how long they waited."""
    ports = free_ports(len(plan))

    def one(process):
        kind = strategy(len(plan), 1)
        environment(process, len(plan), 1, ports)
        live(folder, plan[process], kind)

    children = [
        start(lambda process=process: one(process))
        for process in range(len(plan))
    ]
    codes, ends = zip(*codes_and_ends(children), strict=True)
    return codes, max(ends) - min(ends)


def main():
    folder = pathlib.Path(sys.argv[1])
    gc.freeze()  # not for collections of forks
    ended = {
        name: [together(folder / name, plan) for plan in plans]
        for name, plans in json.loads(sys.argv[2])
    }
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
