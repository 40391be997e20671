"""What is done to docstrings before Sphinx reads them, so that they suit readers of the code.

In the sources a formula is a paragraph that is indented, and ``|g|`` is a norm.  reStructuredText
would take the first for a quotation and the second for a substitution.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from typing import Any

_ITEM = re.compile(r"(\s*)([-*+]|\d+\.|\(\w\)) +\S")
# What is left as it is: literals, roles and links, and what is set in italics or bold.
_LITERAL = re.compile(
    r"``.+?``|:\w[\w:]*:`[^`]+`|`[^`]+`_?_?"
    r"|(?<![\w*])\*\*[^*\s](?:[^*]*[^*\s])?\*\*(?![\w*])"
    r"|(?<![\w*])\*[^*\s](?:[^*]*[^*\s])?\*(?![\w*])"
)


def as_rst(lines: list[str]) -> list[str]:
    """The lines of a docstring as reStructuredText.

    >>> as_rst(["The norm |g|:", "", "    out = a * |b|", "", "and so on."])
    ['The norm \\\\|g\\\\|:', '', '::', '', '    out = a * |b|', '', 'and so on.']
    >>> as_rst(["Args:", "    x: |x| is small."])
    ['Args:', '    x: \\\\|x\\\\| is small.']
    """
    result: list[str] = []
    literal: int | None = None  # the indent of the block that is copied as it is
    doctest = False
    last = 0  # the indent of the last line of text
    items: list[int] = []  # where the text of the list items that are open begins
    blank = True
    for line in lines:
        text = line.strip()
        indent = len(line) - len(line.lstrip())
        if not text:
            blank, doctest = True, False
            result.append(line)
            continue
        if literal is not None and indent >= literal:
            result.append(line)
            blank = False
            continue
        literal = None
        while items and indent < items[-1]:
            items.pop()
        if text.startswith(">>>"):
            doctest = True
        if doctest:
            result.append(line)
        elif blank and result and indent > max([last, *items[-1:]]):
            result += [" " * last + "::", "", line]
            literal, blank = indent, False
            continue
        else:
            item = _ITEM.match(line)
            if item:
                items.append(line.index(item[2]) + len(item[2]) + 1)
            result.append(line if text.startswith("===") else escaped(line))
            if text.endswith("::"):
                literal = indent + 1
        if not doctest and not (items and indent >= items[-1]):
            last = indent
        blank = False
    return result


def escaped(line: str) -> str:
    r"""Bars, and stars and underscores that mark nothing, outside literals, with a backslash.

    >>> print(escaped("|g| of ``|x|``, x_ and *args, **options, but *this*"))
    \|g\| of ``|x|``, x\_ and \*args, \*\*options, but *this*
    """
    parts, start = [], 0
    for literal in [*_LITERAL.finditer(line), None]:
        plain = line[start : literal.start() if literal else len(line)]
        plain = plain.replace("|", r"\|")
        plain = re.sub(r"(?<=\w)_(?!\w)", r"\_", plain)
        plain = re.sub(r"\*+(?=\S)", lambda stars: r"\*" * len(stars[0]), plain)
        parts.append(plain)
        if literal:
            parts.append(literal[0])
            start = literal.end()
    return "".join(parts)


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if what == "data" and getattr(obj, "__doc__", None) == type(obj).__doc__:
        lines.clear()  # that of dict is not what is wanted
    lines[:] = as_rst(lines)


def public_names() -> dict[str, str]:
    """The public names of things: 'minires.nn.module.Module' -> 'minires.nn.Module'.

    The shortest one wins, and of two the first in the alphabet.
    """
    import minires

    found: dict[str, str] = {}
    names = ["minires", *(m.name for m in pkgutil.walk_packages(minires.__path__, "minires."))]
    for module_name in sorted(names, key=lambda n: (n.count("."), n), reverse=True):
        if module_name.endswith("__main__"):
            continue
        module = importlib.import_module(module_name)
        for name in getattr(module, "__all__", ()):
            value = getattr(module, name)
            if inspect.isclass(value) or inspect.isroutine(value):
                found[f"{value.__module__}.{value.__qualname__}"] = f"{module_name}.{name}"
    return found


def _missing(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Point a reference to where a name is defined at where it is public."""
    if node.get("refdomain") != "py":
        return None
    if not hasattr(app, "minires_public_names"):
        app.minires_public_names = public_names()
    target = node.get("reftarget", "")
    head, _, tail = target.rpartition(".")
    known = app.minires_public_names
    public = known.get(target) or (f"{known[head]}.{tail}" if head in known else None)
    if public is None:
        return None
    return env.get_domain("py").resolve_xref(
        env, node["refdoc"], app.builder, node.get("reftype", "obj"), public, node, contnode
    )


def _exact(app: Any, doctree: Any) -> None:
    """Types in signatures are names of their own module, or in full; never of just any module."""
    from sphinx import addnodes

    for signature in doctree.findall(addnodes.desc_signature):
        for reference in signature.findall(addnodes.pending_xref):
            reference.attributes.pop("refspecific", None)


def setup(app: Any) -> None:
    """Called from conf.py."""
    app.connect("autodoc-process-docstring", _process, priority=400)  # before napoleon
    app.connect("doctree-read", _exact)
    app.connect("missing-reference", _missing)
