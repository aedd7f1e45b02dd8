"""Where images come from: arrays, files, TFDS, published data sets.

In come names, paths and arrays, out goes an `ImageSource`, whose examples have
one form. `loading` is the way in. Batches, evaluation and training use it; it
knows nothing of batches.
"""
