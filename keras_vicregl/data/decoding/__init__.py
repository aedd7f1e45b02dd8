"""Contents of files to pixels, by TensorFlow alone.

In come strings of bytes, out go (H, W, 3) uint8, upright. Sources and batches
use it; nothing outside of `data` does.
"""
