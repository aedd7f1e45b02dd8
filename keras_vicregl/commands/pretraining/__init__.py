"""What `keras-vicregl pretrain` does, one step a module.

`arguments`: what was typed, with what a run began with; `choice`: a recipe for
images that nobody chose one for; `memory`: a batch that fits; `building`: the
parts of the training; `plan`: what is said before it begins; `running`: all of
it. Arguments come in, a folder with the run goes out.
"""
