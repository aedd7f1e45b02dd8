"""Names of the entries of an example, or of a batch of them.

An example is a dictionary, in `data` as in `views`; what each entry holds is
said by `data.ImageSource` and `MultiView`.
"""

IMAGES = "images"
LABELS = "labels"
MASKS = "segmentation_masks"
SEEDS = "seeds"
SOURCE_SIZE = "source_size"
VIEW_TO_SOURCE = "view_to_source"

VIEWS = "views"
VIEW_MASKS = "view_masks"
PARAMETERS = "parameters"

NO_LABEL = -1
"""The label of an example that has none."""
