"""What is said on the command line, made into what functions take.

In come words - NAME=VALUE, names of folders and splits, files of models - and
out go arguments, sources and models, or a `UsageError` in one sentence.
"""
