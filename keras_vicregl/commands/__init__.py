"""The command `keras-vicregl`: what scripts do, from a shell.

In come arguments, out go files, figures and exit codes: 0 when all is done, 1
after an error, 2 where the arguments are at fault, 130 and 143 after Ctrl-C and
SIGTERM. Nothing may import it; it stands on all the rest.

A module a command, with `SUMMARY`, a line; `add_arguments(parser)`; and
`run(arguments)`, which returns the exit code, or None for 0. None of them
imports Keras before `run`: help is there at once, and `starting.start` chooses
the backend first.
"""
