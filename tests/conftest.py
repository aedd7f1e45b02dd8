"""Settings of the whole test run."""

import os

# One thread: the shapes here are tiny, and PyTorch and TensorFlow in one
# process fight over cores otherwise.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Most of a test under XLA is compilation: leave out its optimisations. What
# tests compare does not depend on them.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import contextlib

import hypothesis

# PyTorch before TensorFlow, whichever of the two a test module imports.
with contextlib.suppress(ImportError):
    import torch  # noqa: F401

# The same examples on every machine and in every run, without a time limit:
# the first call at a shape compiles.
hypothesis.settings.register_profile(
    "reproducible",
    derandomize=True,
    deadline=None,
    database=None,
    max_examples=20,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("reproducible")
