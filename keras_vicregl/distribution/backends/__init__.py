"""What replicas and processes tell each other, on each backend.

Modules with the same functions, one of which is `running.backend`.
`collectives` and `processes` say what they do; besides them only the training
steps of the models use it, each that of its own backend.
"""
