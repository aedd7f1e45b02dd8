"""What `keras-vicregl pretrain` does, one step a module.

`arguments`: what was typed; `beginning`: what a run began with; `images`: those
to train on and to judge by; `choice`: a recipe for images that nobody chose one
for; `memory`: a batch that fits; `building`: views, model and optimizer;
`plan`: what is said before it begins; `logs`: those of a team; `running`: all
of it. Arguments come in, a folder with the run goes out.
"""
