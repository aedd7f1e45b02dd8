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
# What does not depend on the backend is tested once: reading images and drawing
# views is TensorFlow in tf.data, whatever Keras runs on; files, pictures and
# some metrics are NumPy alone. What connects them with the backend
# (test_pipeline, test_multi_view, test_matches, ...) is tested on each, as is
# what the scripts for checkpoints call.
if (
    os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow"
    and "ALL_TESTS" not in os.environ
):
    collect_ignore += [
        "checkpoints/test_published.py",
        "checkpoints/test_torch_files.py",
        "data/test_boxes.py",
        "data/test_decoding.py",
        "data/test_failures.py",
        "data/test_mask_labels.py",
        "data/test_scenes.py",
        "data/test_segmentation_sets.py",
        "data/test_sources.py",
        "data/test_subset.py",
        "data/test_tfds_source.py",
        "evaluation/test_augmentation.py",
        "evaluation/test_average_precision.py",
        "evaluation/test_examples.py",
        "evaluation/test_label_subset.py",
        "examples/test_checkpoints.py",
        "test_render.py",
        "training/test_archive.py",
        "training/test_interruption.py",
        "training/test_settings.py",
        "views/test_crop.py",
        "views/test_fused.py",
        "views/test_inputs.py",
        "views/test_photometric.py",
        "views/test_random.py",
        "views/test_view_contents.py",
        "visualization/test_curves.py",
        "visualization/test_drawn_ablation.py",
        "visualization/test_drawn_boxes.py",
        "visualization/test_drawn_segmentations.py",
        "visualization/test_figures.py",
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
