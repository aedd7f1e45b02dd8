"""How each backend is asked for products of float32 in full precision.

Each module has `matmul`, which is that of `keras_vicregl.precision`.
"""
