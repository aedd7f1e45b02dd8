"""Which examples come when, and what becomes of those that cannot be read.

`order` is NumPy alone, `ahead` threads of Python; `epochs` and `failures` are
tf.data. Sources and batches stand on it, and evaluation, where it shuffles or
reads ahead.
"""
