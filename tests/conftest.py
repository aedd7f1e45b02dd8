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

# Programs that tests start.
collect_ignore = [
    "distribution/replicas.py",
    "distribution/together.py",
    "training/lives.py",
]
# Reading images and drawing views is TensorFlow in tf.data, whatever Keras runs
# on: its details are tested once, and what connects it with the backend
# (test_pipeline, test_multi_view, test_fused, ...) on each.
if (
    os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow"
    and "ALL_TESTS" not in os.environ
):
    collect_ignore += [
        "data/test_boxes.py",
        "data/test_decoding.py",
        "data/test_failures.py",
        "data/test_scenes.py",
        "data/test_segmentation_sets.py",
        "data/test_sources.py",
        "data/test_subset.py",
        "data/test_tfds_source.py",
        "views/test_crop.py",
        "views/test_inputs.py",
        "views/test_photometric.py",
        "views/test_random.py",
    ]

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
