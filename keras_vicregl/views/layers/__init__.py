"""The keras-cv layers: one operation each, with the geometry that follows.

In come dictionaries of images, out go dictionaries. `views` gives them to
users by name; within, `rendering.faithful` makes chains of them.
"""
