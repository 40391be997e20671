"""A copy of minires in which some modules are hollow: their names are there, and do nothing.

An assignment about residual blocks gives out a library without them.  An import hook could be got
round; a copy without the code cannot.  Every class, function and variable at the top of a hollow
module keeps its name, so that the modules that import it still can; to call one is an error that
says why.
"""

from __future__ import annotations

import ast
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from minires.errors import UsageError

__all__ = ["NEVER_COPIED", "copy_of_minires", "hollow_source"]

# What is for people, or would do the learner's work, in every assignment.
NEVER_COPIED = ("course", "exercises", "cli", "bench", "tutorials.py", "notebook_files", "viz")
_PACKAGE = Path(__file__).parents[1]

_HEAD = '''\
"""Hollow: this part of minires is not in the copy that an assignment gives out."""


class _Absent(type):
    def __call__(cls, *args, **kwargs):
        raise NameError(
            f"{name}.{{cls.__name__}} is not in this assignment's copy of minires: "
            "it does what is to be written here."
        )
'''


def copy_of_minires(target: Path, without: Sequence[str] = ()) -> None:
    """Copy the package to ``target``, the modules and packages named in ``without`` hollow.

    Raises UsageError for one that does not exist.
    """
    ignored = shutil.ignore_patterns("__pycache__", *NEVER_COPIED)
    shutil.copytree(
        _PACKAGE,
        target,
        ignore=lambda folder, names: (
            ignored(folder, names)
            if folder == str(_PACKAGE)
            else {n for n in names if n == "__pycache__"}
        ),
    )
    for module in without:
        for path in _files(target, module):
            path.write_text(
                hollow_source(path.read_text(encoding="utf-8"), module), encoding="utf-8"
            )


def hollow_source(source: str, module: str) -> str:
    """The source of a module with the same names and nothing behind them.

    >>> print(hollow_source("def f(x): return x + 1", "minires.m").splitlines()[-1])
    f = _Absent("f", (), {})
    """
    names: list[str] = []
    kept: list[str] = []
    for node in _statements(ast.parse(source)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.append(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names += [(a.asname or a.name).split(".")[0] for a in node.names]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            kept.append(ast.unparse(node))
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            named = (n for target in targets for n in ast.walk(target))
            names += [n.id for n in named if isinstance(n, ast.Name) and _is_stored(n)]
    fresh = [name for name in dict.fromkeys(names) if name not in ("annotations", "*")]
    lines = [f'{name} = _Absent("{name}", (), {{}})' for name in fresh]
    return "\n".join([_HEAD.format(name=module), *kept, *lines, ""])


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    """The statements at the top, and those in an if, try or with there."""
    for inner in ast.iter_child_nodes(node):
        if isinstance(inner, ast.If | ast.Try | ast.With | ast.ExceptHandler):
            yield from _statements(inner)
        elif isinstance(inner, ast.stmt):
            yield inner


def _is_stored(name: ast.Name) -> bool:
    return isinstance(name.ctx, ast.Store)


def _files(target: Path, module: str) -> list[Path]:
    parts = module.split(".")[1:]
    place = target.joinpath(*parts)
    if parts and place.is_dir():
        return sorted(place.rglob("*.py"))
    if parts and place.with_suffix(".py").is_file():
        return [place.with_suffix(".py")]
    raise UsageError(f"without: there is no module {module!r} in minires.")
