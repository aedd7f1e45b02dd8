"""Noise that a seed and the place of a pixel tell, on any backend.

Host and device make the same noise of the same seeds, whatever makes their
views: 32-bit integers, hashed, become normally distributed numbers.
"""

import math
from typing import Any

# Of lowbias32 (Ellis, "Prospecting for Hash Functions", 2018), as int32.
_MULTIPLIERS = (0x7FEB352D, 0x846CA68B - 2**32)
_SHIFTS = (16, 15, 16)
# Makes neighbours differ in many bits.
_INCREMENT = 0x9E3779B1 - 2**32


def hashed(seeds: Any, places: Any, xor: Any, shift_right: Any) -> Any:
    """Integers in [0, 2^24), each as likely as any other.

    Args:
        seeds: int32, of views.
        places: int32, of pixels; the two broadcast.
        xor: the function of the arrays' library.
        shift_right: likewise; it may keep the sign.

    Returns:
        int32. Products wrap around, as all backends' do.
    """
    bits = _mixed(seeds * _INCREMENT, xor, shift_right) + places * _INCREMENT
    bits = _mixed(bits, xor, shift_right)
    return _logical(bits, 8, shift_right)


def normal(bits: Any, as_float: Any, erfinv: Any) -> Any:
    """Normally distributed numbers of what `hashed` returns, all finite.

    Float32 has no room for a half beside 2^23 and more: scaled to (0, 1), the
    largest bits would become 1, whose normal number is infinite. And
    TensorFlow's `erfinv` adds 1, which rounds likewise: it is asked for the
    negative half alone.

    Args:
        bits: int32 in [0, 2^24).
        as_float: the function that makes float32 of integers and conditions.
        erfinv: the inverse of the error function.

    Returns:
        float32, sqrt(2) erfinv((2 * bits + 1) / 2^24 - 1), within 5.5.
    """
    uniform = (as_float(bits - 2**23) + 0.5) * 2.0**-23  # in (-1, 1), exact
    sign = 2.0 * as_float(bits < 2**23) - 1.0
    return math.sqrt(2.0) * sign * erfinv(-abs(uniform))


def _mixed(bits: Any, xor: Any, shift_right: Any) -> Any:
    first, second, third = _SHIFTS
    bits = xor(bits, _logical(bits, first, shift_right)) * _MULTIPLIERS[0]
    bits = xor(bits, _logical(bits, second, shift_right)) * _MULTIPLIERS[1]
    return xor(bits, _logical(bits, third, shift_right))


def _logical(bits: Any, count: int, shift_right: Any) -> Any:
    """Bits shifted to the right, with zeros from the left."""
    return shift_right(bits, count) & (2 ** (32 - count) - 1)
