"""The mean and deviation of images, where nothing else is said."""

# Of the channels, on a scale of [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
