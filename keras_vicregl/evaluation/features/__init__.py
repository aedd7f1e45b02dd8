"""What a backbone makes of images: features, in order, batch by batch.

In come a model, or features that are there already, and data of any form; out
go arrays. All other evaluations stand on it.
"""
