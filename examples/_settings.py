"""Settings on the command line, of any function."""

import argparse
import contextlib
import json


def setting(text):
    """A name and a value from NAME=JSON; what is no JSON is a string."""
    name, found, value = text.partition("=")
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    with contextlib.suppress(json.JSONDecodeError):
        value = json.loads(value)
    return name, value
