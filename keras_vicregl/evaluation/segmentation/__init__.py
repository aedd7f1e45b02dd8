"""How well feature maps, or a whole network, segment.

In come feature maps or images with masks, out go IoU and a `Segmenter`:
`linear` on frozen features, `training` by the paper's protocols.
"""
