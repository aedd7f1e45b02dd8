"""Peaks of memory, of devices that tests do not have."""

import types

import keras
import pytest

from keras_vicregl.distribution import memory, peak_memory

# Of two devices, and a third that does not tell.
PEAKS = [5_000, 7_000, None]


def of_tensorflow(patch):
    tf = pytest.importorskip("tensorflow")

    def info(device):
        peak = PEAKS[int(device.rpartition(":")[2])]
        if peak is None:
            raise ValueError("Allocator stats not available for " + device)
        return {"current": 1, "peak": peak}

    experimental = types.SimpleNamespace(get_memory_info=info)
    config = types.SimpleNamespace(
        experimental=experimental,
        list_logical_devices=lambda kind: PEAKS if kind == "GPU" else [],
    )
    fake = types.SimpleNamespace(config=config, errors=tf.errors)
    patch.setattr(memory.backend, "tf", fake)


def of_torch(patch):
    import torch

    patch.setattr(torch.cuda, "is_initialized", lambda: True)
    patch.setattr(torch.cuda, "device_count", lambda: len(PEAKS))
    patch.setattr(
        torch.cuda, "max_memory_allocated", lambda device: PEAKS[device] or 0
    )


def of_jax(patch):
    import jax

    def device(peak):
        stats = None if peak is None else {"peak_bytes_in_use": peak}
        return types.SimpleNamespace(memory_stats=lambda: stats)

    patch.setattr(jax, "local_devices", lambda: list(map(device, PEAKS)))


def test_the_largest_peak_counts(monkeypatch):
    globals()[f"of_{keras.backend.backend()}"](monkeypatch)
    assert peak_memory() == 7_000
    monkeypatch.undo()
    # It is asked anew each time.
    assert peak_memory() != 7_000


def test_nothing_is_told_where_no_device_tells(monkeypatch):
    fake = types.SimpleNamespace(peaks_of_memory=list)
    monkeypatch.setattr(memory, "backend", fake)
    assert peak_memory() is None
