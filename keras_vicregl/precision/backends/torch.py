"""PyTorch: its switches, for the moment in which a product is made."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

# One a library that makes products of float32, of GPUs and of CPUs.
_LIBRARIES = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)


def matmul(a: Any, b: Any) -> Any:
    """See `products.matmul`."""
    if _is_full():
        return torch.matmul(a, b)
    return _Product.apply(a, b)


class _Product(torch.autograd.Function):
    """The product, and gradients that are such products."""

    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        ctx.save_for_backward(a, b)
        with full_precision():
            return torch.matmul(a, b)

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> tuple[Any, Any]:
        a, b = ctx.saved_tensors
        to_a = to_b = None
        if ctx.needs_input_grad[0]:
            to_a = matmul(upstream, b.mT).sum_to_size(a.shape)
        if ctx.needs_input_grad[1]:
            to_b = matmul(a.mT, upstream).sum_to_size(b.shape)
        return to_a, to_b


@contextlib.contextmanager
def full_precision() -> Iterator[None]:
    """Products of float32 are in float32 within, and as they were after it.

    There are two interfaces, an older one for all libraries and one for each;
    kernels look at either. What one asks for, the other may refuse to tell
    where both have been used: then the newer one is what counts.
    """
    before = [library.fp32_precision for library in _LIBRARIES]
    try:
        older = torch.get_float32_matmul_precision()
    except RuntimeError:
        older = None
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        if older is not None:
            torch.set_float32_matmul_precision(older)
        for library, precision in zip(_LIBRARIES, before, strict=True):
            library.fp32_precision = precision


def _is_full() -> bool:
    return all(
        library.fp32_precision in ("none", "ieee") for library in _LIBRARIES
    )
