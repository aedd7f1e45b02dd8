"""`python -m keras_vicregl`: the command `keras-vicregl`."""

import sys

from keras_vicregl.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
