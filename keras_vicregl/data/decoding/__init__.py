"""Files to pixels, by TensorFlow alone or without it.

In come contents of pictures, out go (H, W, 3) uint8, upright: `images` and
`orientation` are tf.data, `pillow` and `exif` Python. Or in come paths, and out
go (H, W, C) with the values as they are: `raw`, with `tiff` and `wide_png`;
`forms` says what may be an image. Sources and batches use it; outside of `data`
evaluation uses `resizing`.
"""
