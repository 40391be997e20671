"""The house: each floor imports only from lower ones, and the rules that keep files readable."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import minires

PACKAGE = Path(minires.__file__).parent
ASSIGNMENTS = PACKAGE / "course" / "assignments"  # what learners are given, read by path
FILES = sorted(path for path in PACKAGE.rglob("*.py") if ASSIGNMENTS not in path.parents)
INSIDE = PACKAGE / "course" / "inside"  # is copied, and imported there by another name
MAX_LINES = 420

# From the ground up; names on one line may import each other.
FLOORS = [
    ("errors",),
    ("device", "rng", "table", "files", "progress", "unpickle"),
    ("result", "cuda"),
    ("kernels",),
    ("autograd",),
    ("functional", "creation"),
    ("nn",),
    ("saving",),
    ("optim", "data", "check"),
    ("models", "train"),
    ("flow",),
    ("viz",),
    ("experiments",),
    ("exercises",),
    ("bench",),
    ("tutorials",),
    ("course",),
    ("cli",),
    ("__main__", "__init__"),
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}

# Results draw themselves: .plot() imports the floor above, when it is called.
LAZY_EXCEPTIONS = {("result.py", "viz")}
PLAIN_DATA_ONLY = ("flow", "check", "train", "models", "nn", "autograd")  # what viz must not know


class Import(NamedTuple):
    """An import of minires: the file, the line, what is imported, and whether in a function."""

    file: str
    line: int
    name: str
    lazy: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.name}"


def named(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def part_of(path: Path) -> str:
    """The first name below minires: 'kernels' for kernels/conv.py, 'rng' for rng.py."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def exists(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def imports_of(path: Path, source: str | None = None) -> Iterator[Import]:
    """All imports of parts of minires, at the top, in functions, and for type checkers."""

    def walk(node: ast.AST, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            if isinstance(child, ast.Import):
                for alias in child.names:
                    first, *rest = alias.name.split(".")
                    if first == "minires":
                        yield Import(named(path), child.lineno, rest[0] if rest else "*", lazy)
            elif isinstance(child, ast.ImportFrom):
                first, *rest = (child.module or "").split(".")
                if child.level == 1 and path.parent == INSIDE:
                    continue
                if child.level:
                    yield Import(named(path), child.lineno, "." * child.level, lazy)
                elif first == "minires" and rest:
                    yield Import(named(path), child.lineno, rest[0], lazy)
                elif first == "minires":
                    for alias in child.names:
                        if alias.name == "__version__":
                            continue
                        name = alias.name if exists(alias.name) else "*"
                        yield Import(named(path), child.lineno, name, lazy)
            yield from walk(child, inside)

    tree = ast.parse(path.read_text(encoding="utf-8") if source is None else source)
    yield from walk(tree, False)


def forbidden(path: Path, source: str | None = None) -> list[str]:
    """The imports of a file that its floor does not allow."""
    own = part_of(path)
    found = []
    for item in imports_of(path, source):
        if item.name in FLOOR and FLOOR[item.name] <= FLOOR[own]:
            continue
        if item.lazy and (item.file, item.name) in LAZY_EXCEPTIONS:
            continue
        found.append(str(item))
    return found


def test_every_part_of_the_package_has_a_floor() -> None:
    parts = {part_of(path) for path in FILES}
    assert parts == set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_a_floor_imports_only_from_lower_or_equal_ones(path: Path) -> None:
    assert forbidden(path) == []


@pytest.mark.parametrize(
    ("file", "source", "found"),
    [
        ("kernels/conv.py", "from minires.autograd import Tensor", ["autograd"]),
        ("kernels/conv.py", "from minires import nn, errors", ["nn"]),
        ("kernels/conv.py", "import minires.flow.ledger as m", ["flow"]),
        ("kernels/conv.py", "def f():\n    from minires import viz", ["viz"]),
        ("kernels/conv.py", "import minires", ["*"]),
        ("kernels/conv.py", "from minires import Tensor", ["*"]),
        ("kernels/conv.py", "from . import pool", ["."]),
        ("result.py", "def f():\n    from minires import viz", []),
        ("result.py", "from minires import viz", ["viz"]),
        ("flow/ledger.py", "def f():\n    from minires import viz", ["viz"]),
        ("flow/ledger.py", "from minires import nn\nimport minires.functional as F", []),
        ("cli/main.py", "from minires import __version__", []),
    ],
)
def test_the_check_of_floors_sees_every_way_to_import(
    file: str, source: str, found: list[str]
) -> None:
    expected = [f"imports {name}" for name in found]
    assert [text.split(" ", 1)[1] for text in forbidden(PACKAGE / file, source)] == expected


def test_figures_are_drawn_from_plain_data() -> None:
    for path in FILES:
        if part_of(path) == "viz":
            assert [i for i in imports_of(path) if i.name in PLAIN_DATA_ONLY] == []


def top_level_modules(path: Path) -> set[str]:
    """The first names of all imports that run when the file is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found


def test_cupy_is_imported_in_one_place_and_lazily() -> None:
    users = {
        named(path)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) and any(a.name.startswith("cupy") for a in node.names)
    }
    assert users <= {"device.py"}
    assert not any("cupy" in top_level_modules(path) for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=named)
def test_no_star_imports(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    stars = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
    ]
    assert stars == []


READ = [p for p in ASSIGNMENTS.rglob("*.py") if p.name != "master.py"]  # of it, the stub is read


@pytest.mark.parametrize("path", [*FILES, *sorted(READ)], ids=named)
def test_no_file_is_too_long_to_read_in_one_go(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_no_module_is_named_like_one_of_the_standard_library() -> None:
    """inspect.py or trace.py would break every script that is run from its folder."""
    names = {path: path.stem for path in FILES} | {
        path: path.name for path in PACKAGE.rglob("*") if path.is_dir()
    }
    clashes = [named(p) for p, n in names.items() if n in sys.stdlib_module_names]
    assert [name for name in clashes if not name.endswith(("__init__.py", "__main__.py"))] == []


def test_no_module_is_named_like_a_place_for_leftovers() -> None:
    assert not {path.stem for path in FILES} & {"utils", "util", "common", "helpers", "misc"}


# --- docstrings ---


def modules() -> list[Any]:
    names = [m.name for m in pkgutil.walk_packages(minires.__path__, "minires.")]
    return [importlib.import_module(n) for n in names if not n.endswith("__main__")]


def public_methods() -> Iterator[tuple[str, Any]]:
    """The public methods and properties of public classes; an overridden one inherits its text.

    forward and backward are described by the docstring of their class.
    """
    for module in modules():
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isclass(value):
                for method in vars(value):
                    attribute = getattr(value, method)
                    own = inspect.isroutine(attribute) or isinstance(attribute, property)
                    if own and not method.startswith("_") and method not in ("forward", "backward"):
                        yield f"{module.__name__}.{name}.{method}", attribute


def test_every_module_has_a_docstring() -> None:
    undocumented = [
        named(path)
        for path in FILES
        if path.read_text(encoding="utf-8").strip()
        and not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert undocumented == []


@pytest.mark.parametrize("path", FILES, ids=named)
def test_every_public_function_and_class_has_a_docstring(path: Path) -> None:
    definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    if path.parent.name == "mistakes":  # a wrong gradient is explained by the title beside it
        definitions = ast.ClassDef
    undocumented = [
        node.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, definitions)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert undocumented == []


def test_every_public_method_has_a_docstring() -> None:
    methods = dict(public_methods())
    assert len(methods) > 100
    assert [name for name, value in methods.items() if not inspect.getdoc(value)] == []
