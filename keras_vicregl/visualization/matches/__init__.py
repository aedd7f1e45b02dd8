"""Which positions of two views are matched, and pictures of it.

`finding` finds them as the losses do, `pictures` and `distances` draw.
"""
