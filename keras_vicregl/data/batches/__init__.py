"""From a source to the batches that `fit` and evaluations take.

In come an `ImageSource` and a recipe of views, out go a `tf.data.Dataset`
(`pipeline`, `detection_batches`) or a `PyDataset` (`array_batches`,
`source_batches`).
"""
