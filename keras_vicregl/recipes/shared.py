"""Settings that several families of recipes have in common."""

LARS = {"momentum": 0.9, "eta": 0.001, "weight_decay": 1e-6}
