"""All state of a training on disk, and back: what `TrainingCheckpoint` does.

In come a model, callbacks and positions, out go archives and, from these, the
same state. `checkpoint` is the way in; `pretrain` and logs stand on it.
"""
