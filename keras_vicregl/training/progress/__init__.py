"""How a training goes, seen while it runs: speed, time left, a line of both.

In come the calls of `fit` and a clock, out go figures and text. Nothing here
is part of what a training computes, saves or compares.
"""
