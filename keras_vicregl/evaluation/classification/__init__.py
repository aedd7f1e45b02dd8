"""How well features, or a whole network, tell classes apart.

In come features or images with labels, out go accuracies: nearest neighbours,
a linear layer, fine-tuning on all labels or a few.
"""
