"""The operators and methods declared on Tensor are those that minires.functional binds to it."""

from __future__ import annotations

import ast
import inspect

import minires as mr
import minires.functional as F
from minires.functional.bind import METHODS


def declared() -> list[str]:
    """Names of the methods that class Tensor declares under ``if TYPE_CHECKING``."""
    (tensor,) = ast.parse(inspect.getsource(mr.Tensor)).body
    assert isinstance(tensor, ast.ClassDef)
    return [
        method.name
        for block in tensor.body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for method in block.body
        if isinstance(method, ast.FunctionDef)
    ]


def test_declared_and_bound_names_are_the_same() -> None:
    names = declared()
    assert len(names) == len(set(names))
    assert set(names) == set(METHODS)


def test_every_bound_name_is_there_and_hides_none_of_the_class() -> None:
    for name, operation in METHODS.items():
        assert getattr(mr.Tensor, name) is operation
        assert operation.__doc__ or name.startswith("__r"), f"{name} has no docstring"
    own = {
        node.name
        for node in ast.walk(ast.parse(inspect.getsource(mr.Tensor)))
        if isinstance(node, ast.FunctionDef)
    }
    assert len(own) > len(METHODS)
    outside = own - set(declared())
    assert not outside & set(METHODS)


def test_declared_arguments_are_those_of_the_operation() -> None:
    """So that an editor completes what will run: the names after ``self``, where they are named."""
    tree = ast.parse(inspect.getsource(mr.Tensor))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in METHODS and node.name[:2] != "__":
            given = [a.arg for a in (*node.args.args, *node.args.kwonlyargs)][1:]
            takes = inspect.signature(METHODS[node.name]).parameters.values()
            named = [p.name for p in takes if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
            expected = ["other" if name == "b" else name for name in named[1:]]
            assert given == expected, node.name


def test_a_method_is_the_function_of_its_name() -> None:
    shared = [name for name in METHODS if hasattr(F, name) and name != "where"]  # x, not condition
    assert len(shared) > 30
    assert [name for name in shared if METHODS[name] is not getattr(F, name)] == []
