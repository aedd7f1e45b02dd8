"""How well a pyramid of feature maps detects.

In come images with boxes, out go COCO's average precision and a `Detector`.
"""
