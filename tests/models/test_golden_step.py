"""One step of training, from views to new weights, as the release takes it.

`goldens/step_*.npz` holds what the authors' release logged in one step on
seeded weights, and the norms of all its gradients and steps.
"""

import json

import keras
import numpy as np
import pytest
import seeded_weights
from keras import ops

from keras_vicregl import VICRegL, backbone
from keras_vicregl.checkpoints.conversion import model_layout
from keras_vicregl.optimizers import LARS, AdamW

# Ours, the release's.
LOGS = {
    "inv": "inv_l",
    "var": "var_l",
    "cov": "cov_l",
    "local_inv": "minv_l",
    "local_var": "mvar_l",
    "local_cov": "mcov_l",
    "classifier_loss": "cls_l",
    "loss": "l",
    "repr_std": "stdr",
    "repr_corr": "corr",
    "emb_std": "stde",
    "emb_corr": "core",
}


# What is below this part of a gradient's largest entry is rounding.
NOISE = 1e-5


def recording(kind):
    """An optimizer that keeps what the tests ask of its gradients."""

    class Recording(kind):
        def build(self, variables):
            super().build(variables)
            self.norms = [self.add_variable(()) for _ in variables]
            self.noisy = [self.add_variable(()) for _ in variables]

        def _backend_update_step(self, grads, trainable_variables, rate):
            for gradient, variable in zip(
                grads, trainable_variables, strict=True
            ):
                index = self._get_variable_index(variable)
                sizes = ops.abs(gradient)
                norm = ops.sqrt(ops.sum(ops.square(sizes)))
                noisy = ops.logical_and(
                    sizes > 0, sizes < NOISE * ops.max(sizes)
                )
                self.norms[index].assign(norm)
                self.noisy[index].assign(ops.sum(ops.cast(noisy, "float32")))
            super()._backend_update_step(grads, trainable_variables, rate)

    return Recording


def to_source(locations):
    """The affine maps of crops from the positions (B, h, w, 2) of their cells.

    The crops of the release are of whole pixels, so that rounding gives them
    exactly where the recorded positions are rounded to float32.
    """
    batch, height, width, _ = locations.shape
    x, y = (locations[..., axis].astype("float64") for axis in (1, 0))
    maps = np.zeros((batch, 2, 3))
    maps[:, 0, 0] = (x[:, 0, -1] - x[:, 0, 0]) * width / (width - 1)
    maps[:, 1, 1] = (y[:, -1, 0] - y[:, 0, 0]) * height / (height - 1)
    maps = maps.round()
    maps[:, 0, 2] = x[:, 0, 0] - maps[:, 0, 0] / 2 / width
    maps[:, 1, 2] = y[:, 0, 0] - maps[:, 1, 1] / 2 / height
    return maps.round().astype("float32")


@pytest.fixture(scope="module", params=["step_resnet50", "step_convnext_tiny"])
def step(request):
    """The recorded figures, and ours: logs, norms of gradients and steps."""
    with np.load(seeded_weights.GOLDENS / f"{request.param}.npz") as file:
        recorded = dict(file)
    config = json.loads(str(recorded["config"]))
    arguments = {}
    if "convnext" in config["arch"]:
        arguments["stochastic_depth_rate"] = config["drop_path"]
    with seeded_weights.no_random_weights():
        model = VICRegL(
            backbone(config["arch"], **arguments),
            alpha=config["alpha"],
            expander_units=map(int, config["mlp"].split("-")),
            local_expander_units=map(int, config["maps_mlp"].split("-")),
            num_classes=config["num_classes"],
        )
    layout = model_layout(model)
    seeded_weights.assign(layout, config["seed"])
    kind = {"lars": LARS, "adamw": AdamW}[config["optimizer"]]
    model.compile(
        recording(kind)(config["lr"], weight_decay=config["weight_decay"]),
        # Tracing takes longer than the step.
        run_eagerly=keras.backend.backend() == "tensorflow",
    )
    views = range(len(config["grids"]))
    x = {
        "views": tuple(
            recorded[f"view_{view}_x16"].astype("float32") / 16
            for view in views
        ),
        "view_to_source": tuple(
            to_source(recorded[f"loc_{view}"]) for view in views
        ),
    }
    before = {key: entry.to_torch().copy() for key, entry in layout.items()}
    history = model.fit(
        x, recorded["labels"], batch_size=config["batch"], verbose=0
    ).history
    trained = {id(v): i for i, v in enumerate(model.trainable_variables)}
    parameters = {}
    for key, entry in layout.items():
        index = trained.get(id(entry.variable))
        if index is not None:
            change = entry.to_torch().astype("float64") - before[key]
            parameters[key] = {
                "gradient": float(model.optimizer.norms[index]),
                "noisy": float(model.optimizer.noisy[index]),
                "step": np.linalg.norm(change),
            }
    logs = {name: log[0] for name, log in history.items()}
    return recorded, config, logs, parameters


def test_the_logs_are_those_of_the_release(step):
    recorded, _, logs, _ = step
    for ours, theirs in LOGS.items():
        expected = recorded[f"log64_{theirs}"].item()
        np.testing.assert_allclose(logs[ours], expected, 1e-3, err_msg=ours)
    for name in ("top1", "top5"):
        assert logs[name] == recorded[f"log64_{name}"].item(), name


def is_zero(norm):
    """Whether a recorded norm is that of a gradient which is zero.

    The shift of a batch norm's input does nothing, so that the gradients of
    such biases (up to 1e-5 as recorded) are rounding; all others are 0.05 or
    more.
    """
    return norm < 1e-3


def test_gradients_have_the_norms_of_the_release(step):
    recorded, _, _, parameters = step
    expected = json.loads(str(recorded["grad_norms"]))
    assert parameters.keys() == expected.keys()
    zeros = [key for key in expected if is_zero(expected[key])]
    # The biases of four linear layers before batch norm, in the expanders.
    assert len(zeros) == (4 if "backbone.conv1.weight" in expected else 0)
    for key, norm in expected.items():
        found = parameters[key]["gradient"]
        if is_zero(norm):
            assert is_zero(found), key
        else:
            # 50 layers and batches of four amplify how convolutions round.
            np.testing.assert_allclose(found, norm, 1e-2, err_msg=key)


def test_steps_have_the_norms_of_the_release(step):
    recorded, config, _, parameters = step
    gradients = json.loads(str(recorded["grad_norms"]))
    expected = json.loads(str(recorded["step_norms"]))
    rate = config["lr"]
    assert parameters.keys() == expected.keys()
    for key, norm in expected.items():
        found = parameters[key]
        if is_zero(gradients[key]):
            assert found["step"] < rate * 1e-3, key
            continue
        tolerance = 2 * 0.01 * norm**2
        if config["optimizer"] == "adamw":
            # Its first step is the learning rate times the gradient's sign,
            # where the sign is rounding as well: at most that much of the
            # square comes from there.
            tolerance += found["noisy"] * rate**2
        assert abs(found["step"] ** 2 - norm**2) < tolerance, key
