"""What `keras-vicregl evaluate` does.

`arguments`: what was typed; `protocols`: what each protocol is given;
`running`: all of it. A model and images come in, figures go out.
"""
