"""Markdown of this project as the site wants it: code, and names as links."""

import re
from collections.abc import Callable, Iterable

# Names of one small word that are meant when they stand in prose as code.
_PLAIN = {"load", "pretrain"}
_FENCE = re.compile(r"\s*(```|~~~)")
# Not what is the text of a link already.
_CODE = re.compile(r"(?<![\[`])`([A-Za-z_][\w.]*)`(?![\]`])")


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """Changes what is not within a fenced block of code."""
    out, prose, fence = [], [], None
    for line in text.splitlines(keepends=True):
        opening = _FENCE.match(line)
        if fence is None and opening:
            out.append(change("".join(prose)))
            prose, fence = [], opening[1]
            out.append(line)
        elif fence is None:
            prose.append(line)
        else:
            out.append(line)
            if opening and opening[1] == fence:
                fence = None
    return "".join([*out, change("".join(prose))])


def link_names(text: str, names: Iterable[str]) -> str:
    """Makes links of public names that stand as code in prose.

    Args:
        text: Markdown.
        names: dotted public names.

    Returns:
        The same, where `evaluate_knn`, `evaluation.evaluate_knn` and
        `keras_vicregl.evaluation.evaluate_knn` lead to its page. A name that
        could be an ordinary word is one only with its package.
    """
    targets = _targets(names)

    def link(match: re.Match) -> str:
        target = targets.get(match[1])
        return f"[`{match[1]}`][{target}]" if target else match[0]

    return outside_fences(text, lambda prose: _CODE.sub(link, prose))


def _targets(names: Iterable[str]) -> dict[str, str]:
    """What may stand for a public name, and the name."""
    targets: dict[str, str] = {}
    last_parts: dict[str, set[str]] = {}
    for name in names:
        parts = name.split(".")
        targets[name] = name
        for start in range(1, len(parts) - 1):
            targets[".".join(parts[start:])] = name
        # Names of the root stand in their packages too.
        if len(parts) > 2:
            last_parts.setdefault(parts[-1], set()).add(name)
    for last, found in last_parts.items():
        is_word = last.lower() == last and "_" not in last
        if len(found) == 1 and (not is_word or last in _PLAIN):
            targets[last] = found.pop()
    return targets


def fence_examples(text: str) -> str:
    """Puts the doctests of a docstring into blocks of code.

    They stand after a line "Example:", not indented, as Keras has it, where
    Markdown would take `>>>` for quotations.
    """
    out, inside = [], None
    for line in text.splitlines():
        stripped = line.lstrip()
        if inside is None and stripped.startswith(">>> "):
            inside = line[: len(line) - len(stripped)]
            out += [f"{inside}```pycon"]
        if inside is not None and not stripped:
            out.append(f"{inside}```")
            inside = None
        if inside is not None:
            line = re.sub(r"\s*# doctest: .*$", "", line)
            line = line.replace("<BLANKLINE>", "")
        elif stripped == "Example:":
            line = line.replace("Example:", "**Example**")
        out.append(line)
    if inside is not None:
        out.append(f"{inside}```")
    return "\n".join(out)
