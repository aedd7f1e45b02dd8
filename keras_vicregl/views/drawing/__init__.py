"""What is drawn for a view: numbers, by NumPy or TensorFlow alike.

In come seeds and sizes, out go boxes, flips, colour matrices, blurs and maps
to the source. Layers and renderers of views stand on it; of other packages
`data` takes its random numbers.
"""
