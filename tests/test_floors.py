"""The house: floors, rooms, and no circles, read from the source.

An import counts wherever it stands, within functions too; only what is for
type checking does not. `from a import b` is an import of `a`, and of `a.b`
where that is a module.
"""

import ast
import graphlib
import pathlib
import re

import pytest

import keras_vicregl

PACKAGE = "keras_vicregl"
ROOT = pathlib.Path(keras_vicregl.__file__).parent

# From the ground up: a package uses those before it.
FLOORS = (
    "storage",
    "precision",
    "views",
    "distribution",
    "optimizers",
    "losses",
    "data",
    "models",
    "checkpoints",
    "evaluation",
    "recipes",
    "visualization",
    "training",
    "commands",
)
# The rooms of a floor, likewise. Modules of the floor itself are not in one.
ROOMS = {
    "precision": ("backends",),
    "views": ("drawing", "pixels", "layers", "rendering"),
    "distribution": ("backends", "environment"),
    "data": ("decoding", "streams", "sources", "batches"),
    "models": ("backbones", "train_steps"),
    "evaluation": ("features", "classification", "segmentation", "detection"),
    "visualization": ("matches",),
    "training": ("saving", "progress"),
    "commands": ("given", "pretraining", "evaluating"),
}


def read_modules(root):
    """Names of modules and their source."""
    return {
        _name_of(path.relative_to(root.parent)): path.read_text()
        for path in sorted(root.rglob("*.py"))
    }


def _name_of(path):
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(modules):
    """By module the modules that it imports, `importlib` not counted."""
    return {
        name: _imports(source, modules) - {name}
        for name, source in modules.items()
    }


def _imports(source, modules):
    tree = ast.parse(source)
    left_out = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.dump(branch)
        for node in ast.walk(branch)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in left_out:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {node.module} | names
    return found & modules.keys()


def circle_in(graph):
    """The modules of a circle, or none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return error.args[1]
    return None


def private_imports(graph):
    """Imports of what is private to another package.

    `a.b._c` belongs to the package `a.b`: it and the packages in it may use it.
    """
    return [
        (module, imported)
        for module, imports in graph.items()
        for imported in imports
        for package in _owners_of(imported)
        if module != package and not module.startswith(f"{package}.")
    ]


def _owners_of(module):
    parts = module.split(".")
    return [
        ".".join(parts[:depth])
        for depth, part in enumerate(parts)
        if part.startswith("_")
    ]


def imports_from_above(graph, package, order):
    """Imports of a part of a package by a part that comes before it."""
    height = {f"{package}.{name}": i for i, name in enumerate(order)}

    def height_of(module):
        depth = package.count(".") + 2
        return height.get(".".join(module.split(".")[:depth]))

    return [
        (module, imported)
        for module, imports in graph.items()
        for imported in imports
        if None not in (height_of(module), height_of(imported))
        and height_of(module) < height_of(imported)
    ]


MODULES = read_modules(ROOT)
GRAPH = imports_of(MODULES)


def test_there_are_no_circles():
    assert circle_in(GRAPH) is None


def test_private_modules_are_used_by_their_own_package_only():
    assert private_imports(GRAPH) == []


def test_floors_stand_on_what_is_below_them():
    assert imports_from_above(GRAPH, PACKAGE, FLOORS) == []
    folders = {path.name for path in ROOT.iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} == set(FLOORS)


@pytest.mark.parametrize("floor", ROOMS)
def test_rooms_stand_on_what_is_below_them(floor):
    assert imports_from_above(GRAPH, f"{PACKAGE}.{floor}", ROOMS[floor]) == []
    folders = {path.name for path in (ROOT / floor).iterdir() if path.is_dir()}
    assert folders - {"__pycache__"} == set(ROOMS[floor])


def test_the_root_is_used_by_nobody():
    assert [name for name, found in GRAPH.items() if PACKAGE in found] == []


def test_no_private_name_is_imported_from_another_module():
    assert [
        (name, f"{node.module}.{alias.name}")
        for name, source in MODULES.items()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith(PACKAGE)
        for alias in node.names
        if re.match("_[a-z]", alias.name)
        and f"{node.module}.{alias.name}" not in MODULES
    ] == []


class TestWhatTheTestsFind:
    """Each of them, with what it is to find put in."""

    def graph_with(self, **sources):
        added = {
            f"{PACKAGE}.{name.replace('__', '.')}": source
            for name, source in sources.items()
        }
        return imports_of({**MODULES, **added})

    def test_a_circle_through_a_function(self):
        graph = self.graph_with(
            losses__first="from keras_vicregl.losses import second",
            losses__second=(
                "def late():\n    import keras_vicregl.losses.first"
            ),
        )
        assert {
            f"{PACKAGE}.losses.first",
            f"{PACKAGE}.losses.second",
        } <= set(circle_in(graph))

    def test_a_circle_for_type_checking_is_none(self):
        graph = self.graph_with(
            losses__first="import keras_vicregl.losses.second",
            losses__second=(
                "if TYPE_CHECKING:\n    import keras_vicregl.losses.first"
            ),
        )
        assert circle_in(graph) is None

    def test_a_private_module_of_another_package(self):
        graph = self.graph_with(
            models__new="from keras_vicregl.losses import _local_terms"
        )
        assert private_imports(graph) == [
            (f"{PACKAGE}.models.new", f"{PACKAGE}.losses._local_terms")
        ]

    def test_an_import_from_above(self):
        graph = self.graph_with(
            losses__new="def late():\n    import keras_vicregl.models.heads"
        )
        assert imports_from_above(graph, PACKAGE, FLOORS) == [
            (f"{PACKAGE}.losses.new", f"{PACKAGE}.models.heads")
        ]
