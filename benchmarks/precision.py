"""Losses in half precision beside those in float32.

    python benchmarks/precision.py                  # 5 to 10 minutes, 2 cores
    KERAS_BACKEND=jax python benchmarks/precision.py --steps 3000  # GPU

The recipe "scenes" on digit scenes, from the same weights on the same batches,
in float32, mixed_bfloat16 and mixed_float16 (with Keras' scaling of the loss).
Printed are the largest and the last difference of the loss, averaged over a
tenth of the steps, from that in float32, and how many steps were not finite or
left out by the scaling. Target: 2 %. Prints a Markdown table.
"""

import argparse
import contextlib
import sys

POLICIES = ("float32", "mixed_bfloat16", "mixed_float16")
TARGET = 0.02


def losses_of(policy, arguments):
    """The loss of each step, and how many steps changed the weights."""
    import keras

    from keras_vicregl.data import load, view_batches
    from keras_vicregl.recipes import RECIPES

    recipe = RECIPES["scenes"]
    size = arguments.batch_size
    keras.utils.set_random_seed(0)
    model = recipe.make_model(precision=policy)
    steps = arguments.steps
    model.compile(recipe.make_optimizer(max(steps // recipe.epochs, 1), size))
    # No more scenes than batches: each is seen once.
    source = load("digit_scenes", "train", count=steps * size)
    batches = view_batches(source, recipe.make_views(), batch_size=size, seed=0)
    losses = [
        float(model.train_on_batch(inputs, *labels[:0])[0])
        for inputs, *labels in batches.take(steps).as_numpy_iterator()
    ]
    optimizer = model.optimizer
    done = getattr(optimizer, "inner_optimizer", optimizer).iterations
    return losses, int(keras.ops.convert_to_numpy(done))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--policies", nargs="+", default=POLICIES[1:])
    arguments = parser.parse_args()
    with contextlib.suppress(ImportError):
        import torch  # noqa: F401, slow after TensorFlow
    import keras
    import numpy as np

    window = max(1, arguments.steps // 10)

    def smooth(losses):
        return np.convolve(losses, np.full(window, 1 / window), "valid")

    expected, _ = losses_of("float32", arguments)
    first, last = smooth(expected)[[0, -1]]
    print(
        f"{keras.backend.backend()}, {arguments.steps} steps of "
        f"{arguments.batch_size} scenes. Loss in float32: {first:.3f} to "
        f"{last:.3f}.\n"
    )
    print("| precision | largest | last | not finite | left out |")
    print("|---|---:|---:|---:|---:|")
    missed = False
    for policy in arguments.policies:
        losses, done = losses_of(policy, arguments)
        apart = np.abs(smooth(losses) / smooth(expected) - 1)
        broken = int(np.sum(~np.isfinite(losses)))
        print(
            f"| {policy} | {100 * apart.max():.2f} % | {100 * apart[-1]:.2f} % "
            f"| {broken} | {arguments.steps - done} |",
            flush=True,
        )
        missed |= not apart.max() <= TARGET
    if missed:
        sys.exit(f"Farther apart than {TARGET:.0%}.")


if __name__ == "__main__":
    main()
