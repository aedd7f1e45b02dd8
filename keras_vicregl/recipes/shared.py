"""Settings that several families of recipes have in common."""

LARS = {"momentum": 0.9, "eta": 0.001, "weight_decay": 1e-6}

# Of solo-learn's recipes for small images.
CAPPED_LARS = {
    "momentum": 0.9,
    "eta": 0.02,
    "weight_decay": 1e-4,
    "clip": True,
}
