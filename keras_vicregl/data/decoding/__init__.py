"""Contents of files to pixels, by TensorFlow alone or without it.

In come strings of bytes, out go (H, W, 3) uint8, upright: `images` and
`orientation` are tf.data, `pillow` and `exif` Python. Sources and batches use
it; outside of `data` evaluation uses `resizing`.
"""
