"""Settings of the whole test run."""

import os

from xla_options import knows_fusion_emitters

# One thread: the shapes here are tiny, and PyTorch and TensorFlow in one
# process fight over cores otherwise.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# With oneDNN, TensorFlow takes memory in regions each twice as large as the one
# before, and gives none back: 12 GB a worker at the end of the suite.
if "ALL_TESTS" not in os.environ:
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
# Most of a test under XLA is compilation: leave out its optimisations. What
# tests compare does not depend on them. The last two take two fifths off what
# JAX compiles, and add a fifth to what TensorFlow does.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0"
    + (
        " --xla_llvm_disable_expensive_passes=true"
        + " --xla_cpu_use_fusion_emitters=false" * knows_fusion_emitters()
    )
    * (os.environ.get("KERAS_BACKEND") == "jax"),
)

import contextlib
import ctypes
import gc
import pathlib
import shutil
import tempfile

import hypothesis
import pytest

# What JAX compiles is kept for the length of a run, for all its workers and
# for the processes that tests start. It is new in each run.
_new_cache = None
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _new_cache = tempfile.mkdtemp(prefix="compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _new_cache
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"


def pytest_collection_finish():
    """Spares what was imported, a million objects, every later collection."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def pytest_unconfigure():
    """Removes what was kept, at the end of the whole run."""
    if _new_cache is not None:
        shutil.rmtree(_new_cache, ignore_errors=True)


@pytest.fixture(autouse=True, scope="module")
def _memory_is_given_back():
    """After a file: workers share what there is.

    JAX keeps every program that it has compiled, of models long gone: 5 GB a
    worker at the end of the suite. Those that are needed again are on disk.
    """
    yield
    if os.environ.get("KERAS_BACKEND") == "jax":
        import jax

        jax.clear_caches()
    with contextlib.suppress(OSError, AttributeError):  # Linux has them
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        if pages * os.sysconf("SC_PAGE_SIZE") > 1e9:
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)


# PyTorch before TensorFlow, whichever of the two a test module imports.
with contextlib.suppress(ImportError):
    import torch  # noqa: F401

# Programs that tests start.
collect_ignore = [
    "distribution/repeated.py",
    "distribution/replicas.py",
    "distribution/together.py",
    "training/lives.py",
]
# What does not depend on the backend is tested once: reading images and drawing
# views is TensorFlow in tf.data, whatever Keras runs on; files, pictures and
# some metrics are NumPy alone. What connects them with the backend
# (test_pipeline, test_multi_view, test_matches, ...) is tested on each, as is
# what the scripts for checkpoints call.
_ONCE = {
    "test_archive.py",
    "test_array_rows.py",
    "test_ahead.py",
    "test_augmentation.py",
    "test_average_precision.py",
    "test_bad_input.py",
    "test_bad_masks.py",
    "test_boxes.py",
    "test_channel_statistics.py",
    "test_checkpoints.py",
    "test_choices.py",
    "test_cifar10.py",
    "test_classes.py",
    "test_commands.py",
    "test_crop.py",
    "test_curves.py",
    "test_dark_files.py",
    "test_decoding.py",
    "test_drawn_ablation.py",
    "test_drawn_boxes.py",
    "test_drawn_label_curve.py",
    "test_drawn_segmentations.py",
    "test_environment.py",
    "test_examples.py",
    "test_failures.py",
    "test_figures.py",
    "test_floors.py",
    "test_folders.py",
    "test_fused.py",
    "test_given.py",
    "test_inputs.py",
    "test_inspect.py",
    "test_interruption.py",
    "test_label_subset.py",
    "test_line.py",
    "test_logs.py",
    "test_load_options.py",
    "test_main.py",
    "test_mask_labels.py",
    "test_masked_arrays.py",
    "test_missing.py",
    "test_other_batches.py",
    "test_own_source.py",
    "test_photometric.py",
    "test_parsing.py",
    "test_pillow.py",
    "test_published.py",
    "test_random.py",
    "test_raw_files.py",
    "test_recipes_command.py",
    "test_render.py",
    "test_scenes.py",
    "test_segmentation_sets.py",
    "test_settings.py",
    "test_site.py",
    "test_solar_cells.py",
    "test_sources.py",
    "test_splits.py",
    "test_subset.py",
    "test_tfds_source.py",
    "test_torch_files.py",
    "test_translation.py",
    "test_values.py",
    "test_view_contents.py",
}
# Files of which other backends test only what is marked `every_backend`.
_MOSTLY_ONCE = {
    "test_channels.py",
    "test_engines.py",
    "test_multi_view.py",
    "test_pipeline.py",
    "test_torch_models.py",
}


def _tests_everything():
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    return backend == "tensorflow" or "ALL_TESTS" in os.environ


def pytest_ignore_collect(collection_path):
    """Leaves out what another backend's run tests, unless all is asked for."""
    if _tests_everything():
        return None
    return True if collection_path.name in _ONCE else None


def pytest_collection_modifyitems(config, items):
    """The same, where some tests of a file are for every backend."""
    if _tests_everything():
        return
    left_out = [
        item
        for item in items
        if item.path.name in _MOSTLY_ONCE
        and not item.get_closest_marker("every_backend")
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


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
