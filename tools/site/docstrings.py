"""An extension of griffe: docstrings as the site shows them."""

import pathlib
import re
import sys
from typing import Any

import griffe

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from marking import fence_examples, link_names
from public import backbone_summaries, public_names


class Docstrings(griffe.Extension):
    """Examples become blocks of code, names of the package links."""

    def __init__(self) -> None:
        self._names = public_names()

    def on_attribute_instance(
        self, *, attr: griffe.Attribute, **kwargs: Any
    ) -> None:
        """Says of a constructor of a backbone what its row of the table says.

        Python has its docstring only after the table has been read.
        """
        row = re.fullmatch(r"BACKBONES\['(\w+)'\]", str(attr.value))
        if row and attr.docstring is None:
            name = row[1]
            attr.docstring = griffe.Docstring(
                f'{backbone_summaries()[name]} `backbone("{name}")` calls it; '
                "its arguments are those of the class of the network.",
                parent=attr,
            )

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Changes the docstring of an object, once."""
        if obj.docstring is not None:
            text = fence_examples(obj.docstring.value)
            own = {obj.path, obj.canonical_path}
            names = [
                name
                for name in self._names
                if name not in own and name.split(".")[-1] != obj.name
            ]
            obj.docstring.value = link_names(text, names)
