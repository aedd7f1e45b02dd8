"""What the XLA of the installed JAX knows; imported before anything else."""

import importlib.metadata


def knows_fusion_emitters():
    """Whether there is `xla_cpu_use_fusion_emitters`, as JAX 0.10 has.

    JAX 0.12 ends the process where it is in XLA_FLAGS.
    """
    try:
        version = importlib.metadata.version("jax").split(".")
    except importlib.metadata.PackageNotFoundError:
        return False
    return [int(part) for part in version[:2]] < [0, 11]
