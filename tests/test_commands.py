"""What README, pages, guides and docstrings tell to type can be typed.

Commands are read by the parsers of the scripts they call, targets are looked up
in the Makefile, snippets compile, and the names and arguments of this package
in them exist.
"""

import argparse
import ast
import functools
import importlib
import inspect
import pathlib
import re
import runpy
import shlex
import sys
import textwrap

import pytest

import keras_vicregl
from keras_vicregl.commands.main import make_parser
from keras_vicregl.recipes import RECIPES

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = pathlib.Path(keras_vicregl.__file__).parent
# Of torchrun and srun.
FOREIGN = {"--nnodes", "--nproc-per-node", "--kill-on-bad-exit"}
# What a script needs besides options that are told of by themselves.
NEEDED = {
    "examples/pretrain.py": ["--recipe", "scenes"],
    "examples/evaluate.py": ["backbone.keras"],
    "examples/ablation.py": [],
    "examples/scenes_demo.py": [],
}


def prose_of(path):
    """The strings of a module that stand by themselves, docstrings too."""
    return "\n\n".join(
        textwrap.dedent(node.value.value)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def documents():
    """By path what is read by people."""
    texts = {"README.md": (ROOT / "README.md").read_text()}
    for path in sorted((ROOT / "docs").glob("*.md")):
        if path.name == "transcript.md":  # its commands were typed
            continue
        texts[str(path.relative_to(ROOT))] = path.read_text()
    for pattern in ("guides/*.py", "examples/*.py", "benchmarks/*.py"):
        for path in sorted(ROOT.glob(pattern)):
            texts[str(path.relative_to(ROOT))] = prose_of(path)
    for path in sorted((ROOT / "keras_vicregl").rglob("*.py")):
        comments = re.findall(r"^# (python .*)", path.read_text(), re.M)
        texts[str(path.relative_to(ROOT))] = "\n".join(
            [prose_of(path), *comments]
        )
    return texts


DOCUMENTS = documents()
GUIDES = {
    name: text
    for name, text in DOCUMENTS.items()
    if name.startswith(("guides/", "docs/")) or name == "README.md"
}


def spans_of(text):
    """What stands between backticks, fenced blocks left out."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return [" ".join(s.split()) for s in re.findall(r"`([^`]+)`", text)]


def commands_of(text):
    """Pairs of a script and its arguments; dots stand for more of them."""
    text = re.sub(r"\\\n\s*", "", text)
    found = re.findall(
        r"(?:python|torchrun)\b[^\n`]*?\b((?:examples|benchmarks|guides)/\w+\.py)"
        r"([^\n`]*)",
        text,
    )
    return [
        (
            script,
            [
                word
                for word in shlex.split(rest, comments=True)
                if word != "..."
            ],
        )
        for script, rest in found
    ]


@functools.cache
def parser_of(script):
    """The parser that a script makes."""

    class MadeError(Exception):
        """Ends the script as soon as it has a parser."""

    def give(parser, *arguments):
        raise MadeError(parser)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script])
        patch.syspath_prepend(str((ROOT / script).parent))
        patch.setattr(argparse.ArgumentParser, "parse_args", give)
        try:
            runpy.run_path(str(ROOT / script), run_name="__main__")
        except MadeError as made:
            return made.args[0]
    raise AssertionError(f"{script} takes no arguments.")


def parsed(script, arguments):
    """The arguments as the script sees them, or an error that says why not."""
    parser = parser_of(script)
    with pytest.MonkeyPatch.context() as patch:

        def fail(parser, message):
            raise ValueError(f"{script} {shlex.join(arguments)}: {message}")

        patch.setattr(type(parser), "error", fail)
        result = parser.parse_args(arguments)
    recipe = getattr(result, "recipe", None)
    if recipe is not None and recipe not in RECIPES:
        raise ValueError(f"{script}: there is no recipe {recipe!r}")
    return result


COMMANDS = [
    (name, script, arguments)
    for name, text in DOCUMENTS.items()
    for script, arguments in commands_of(text)
]


@pytest.mark.parametrize(
    ("name", "script", "arguments"),
    COMMANDS,
    ids=[f"{name}: {script}" for name, script, _ in COMMANDS],
)
def test_scripts_take_the_arguments(name, script, arguments):
    assert parsed(script, arguments)


def test_commands_are_found():
    assert {name for name, *_ in COMMANDS} >= {
        "guides/pretrain_your_own_data.py",
        "examples/evaluate.py",
    }
    assert commands_of("`torchrun -n 8 examples/a.py --b c \\\n --d ...`") == [
        ("examples/a.py", ["--b", "c", "--d"])
    ]
    with pytest.raises(ValueError, match="--knn-every"):
        parsed("examples/pretrain.py", ["--recipe", "scenes", "--knn-every"])


def lines_of(text):
    """Arguments of the command of the package, where it begins a line."""
    text = re.sub(r"\\\n\s*", "", text)
    found = re.findall(
        r"^ *(?:keras-vicregl|torchrun [^\n]*-m keras_vicregl) ([^\n]+)$",
        text,
        re.M,
    )
    return [
        [word for word in shlex.split(each, comments=True) if word != "..."]
        for each in found
    ]


LINES = {
    name: lines for name, text in DOCUMENTS.items() if (lines := lines_of(text))
}


@pytest.mark.parametrize("name", LINES)
def test_commands_take_the_arguments(name, capsys):
    for arguments in LINES[name]:
        try:
            make_parser().parse_args(arguments)
        except SystemExit:
            raise AssertionError((arguments, capsys.readouterr().err)) from None


def test_lines_are_found():
    assert {"README.md", "keras_vicregl/commands/embed.py"} <= set(LINES)
    assert lines_of("x\n    keras-vicregl a \\\n  --b ...") == [["a", "--b"]]
    with pytest.raises(SystemExit):
        make_parser().parse_args(["pretrain", "x", "--knn-every", "5"])


def options_of(text):
    """Spans that begin with an option, as words."""
    spans = [span for span in spans_of(text) if span.startswith("--")]
    return [words for words in map(shlex.split, spans)]


def check_options(words):
    """Raises unless a script takes them; a bare option must be one of some."""
    if words[0] in FOREIGN:
        return
    known = {
        script: parser_of(script)._option_string_actions for script in NEEDED
    }
    scripts = [
        script for script, options in known.items() if words[0] in options
    ]
    assert scripts, f"No script has an option {words[0]}"
    if len(words) == 1:
        return
    errors = []
    for script in scripts:
        try:
            parsed(script, NEEDED[script] + words)
            return
        except ValueError as error:
            errors.append(str(error))
    raise AssertionError("; ".join(errors))


@pytest.mark.parametrize("name", GUIDES)
def test_options_that_are_told_of_exist(name):
    for words in options_of(GUIDES[name]):
        check_options(words)


def test_options_are_found():
    assert ["--table"] in options_of(GUIDES["docs/digit_scenes.md"])
    for words, message in (
        (["--knn-every", "5"], "No script has an option --knn-every"),
        (["--evaluate", "none"], "invalid choice: 'none'"),
    ):
        with pytest.raises(AssertionError, match=message):
            check_options(words)


def targets():
    """Those of the Makefile, with those of each backend."""
    phony = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.M)
    names = phony[1].replace("$(BACKENDS:%=test-%)", "").split()
    return {*names, *(f"test-{b}" for b in ("tensorflow", "jax", "torch"))}


@pytest.mark.parametrize("name", GUIDES)
def test_make_has_the_targets(name):
    lines = re.findall(r"^ *(make [a-z].*)", GUIDES[name], re.M)
    # Of lines, those in blocks: others are prose that goes on.
    blocks = "".join(re.findall(r"^```.*?^```", GUIDES[name], re.M | re.S))
    lines = [line for line in lines if line in blocks or "ARGS=" in line]
    for command in [*lines, *spans_of(GUIDES[name])]:
        words = (
            shlex.split(command, comments=True) if "make " in command else []
        )
        if len(words) < 2 or words[0] != "make":
            continue
        assert words[1] in targets(), command
        for word in words[2:]:
            if word.startswith("ARGS=") and words[1] == "demo":
                parsed("examples/scenes_demo.py", word[5:].split())


SNIPPETS = [
    (name, textwrap.dedent(code))
    for name, text in DOCUMENTS.items()
    for code in re.findall(r"^ *```python\n(.*?)^ *```", text, re.M | re.S)
]


def resolve(dotted):
    """A module, or what is in one."""
    module, *rest = dotted.split(".")
    found = importlib.import_module(module)
    for name in rest:
        try:
            found = getattr(found, name)
        except AttributeError:
            found = importlib.import_module(f"{found.__name__}.{name}")
    return found


def imported_by(tree):
    """Names of this package that code imports, with what they are."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "keras_vicregl":
                    resolve(alias.name)
                    names["keras_vicregl"] = keras_vicregl
        elif isinstance(node, ast.ImportFrom):
            if node.module.split(".")[0] != "keras_vicregl":
                continue
            for alias in node.names:
                found = resolve(f"{node.module}.{alias.name}")
                names[alias.asname or alias.name] = found
    return names


def check_code(code, names):
    """Raises unless code compiles, and its names and keywords exist."""
    tree = ast.parse(code)
    names.update(imported_by(tree))
    for node in ast.walk(tree):
        # `backbone = backbone("resnet50")` is no function from there on.
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.pop(node.id, None)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            check_call(node, names)


def check_call(node, names):
    root, *rest = ast.unparse(node.func).split(".")
    if root not in names or not all(map(str.isidentifier, rest)):
        return
    function = names[root]
    for name in rest:
        function = getattr(function, name)
    known = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in known.values()):
        return
    surplus = {each.arg for each in node.keywords} - {*known, None}
    assert not surplus, f"{ast.unparse(node.func)} has no {surplus}"


@pytest.mark.parametrize("name", sorted({name for name, _ in SNIPPETS}))
def test_snippets_compile_and_use_what_there_is(name):
    names = {"keras_vicregl": keras_vicregl}
    module = name.removesuffix(".py").replace("/", ".")
    if module.startswith("keras_vicregl."):
        # Examples of a docstring know what is documented.
        names.update(vars(resolve(module.removesuffix(".__init__"))))
    for each, code in SNIPPETS:
        if each == name:
            check_code(code, names)


@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("def f(:", SyntaxError, ""),
        ("from keras_vicregl.data import lead", ImportError, "lead"),
        ("import keras_vicregl.date", ImportError, "date"),
        (
            "from keras_vicregl.data import subset\nsubset(a, b, count=1)",
            AssertionError,
            "subset has no {'count'}",
        ),
    ],
)
def test_bad_snippets_are_found(code, error, message):
    with pytest.raises(error, match=message):
        check_code(code, {})


@pytest.mark.parametrize("name", GUIDES)
def test_names_in_prose_exist(name):
    floors = [path.name for path in PACKAGE.iterdir() if path.is_dir()]
    dotted = re.compile(
        rf"(?:keras_vicregl\.)?(?:{'|'.join(floors)})(?:\.\w+)+"
    )
    text = GUIDES[name]
    if name == "docs/coming_from.md":  # in its first columns are their names
        text = re.sub(r"^\|[^|]*\|", "|", text, flags=re.M)
    for span in spans_of(text):
        found = dotted.match(span)
        if found:
            resolve(f"keras_vicregl.{found[0].removeprefix('keras_vicregl.')}")
        if re.fullmatch(r"(keras_vicregl|examples|guides|tests)/[\w./]*", span):
            assert (ROOT / span).exists(), span
