"""The copy of minires that an assignment gives out runs, and does nothing that is to be written."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from minires.course.assignment import Assignment, assignments
from minires.course.hollow import NEVER_COPIED, copy_of_minires, hollow_source
from minires.course.sandbox import Limits, Sandbox
from minires.errors import UsageError

WITH_MINIRES = [one for one in assignments() if one.library == "minires"]
PACKAGE = Path(importlib.import_module("minires").__file__ or "").parent

SOURCE = '''
"""A module."""
from __future__ import annotations
import math, os.path
import numpy as np
from typing import Any as Whatever
from os import *

__all__ = ["Layer", "first"]
first, (second, *rest) = 1, (2, 3)
table: dict[str, int] = {"secret": 1}
table["more"] = 2
if True:
    chosen = 1
else:
    other = 2
try:
    import fast
except ImportError:
    fast = None
with open("x") as file:
    read = file.read()

class Layer(np.ndarray):
    secret = 42
    def forward(self): return self.secret

@np.vectorize
def function(x): return x + 42

async def later(): pass
'''


def test_every_name_at_the_top_is_kept_and_nothing_behind_it() -> None:
    text = hollow_source(SOURCE, "minires.m")
    names = {"math", "os", "np", "Whatever", "first", "second", "rest", "table", "chosen", "other"}
    names |= {"fast", "read", "Layer", "function", "later"}
    made: dict[str, object] = {}
    exec(text, made)
    assert names <= set(made)
    assert made["__all__"] == ["Layer", "first"]
    assert "42" not in text
    for name in names:
        with pytest.raises(NameError, match=f"minires.m.{name} is not in this assignment's copy"):
            made[name](1, two=2)  # type: ignore[operator]


def test_a_class_of_another_module_may_stand_on_a_hollow_one() -> None:
    made: dict[str, object] = {}
    exec(hollow_source(SOURCE, "minires.m"), made)
    exec("class Mine(Layer):\n    def forward(self): return 1\n", made)
    with pytest.raises(NameError):
        made["Mine"]()  # type: ignore[operator]
    assert not isinstance(1, made["Layer"])  # type: ignore[arg-type]


def test_a_module_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    for n, name in enumerate(["minires.no_such", "minires", "numpy.linalg", "minires.nn.no_such"]):
        with pytest.raises(UsageError, match="there is no module"):
            copy_of_minires(tmp_path / str(n), [name])


ASK = """
import importlib, json, pkgutil, sys
sys.path.insert(0, sys.argv[1])
import minires
failed = {}
for found in pkgutil.walk_packages(minires.__path__, "minires.", onerror=lambda name: None):
    try:
        importlib.import_module(found.name)
    except ImportError as error:
        failed[found.name] = error.name
print(json.dumps([failed, minires.__file__]))
"""


@pytest.mark.parametrize("given", WITH_MINIRES, ids=lambda given: given.name)
def test_the_copy_of_an_assignment_has_nothing_that_it_should_not(
    given: Assignment, tmp_path: Path
) -> None:
    copy = tmp_path / "minires"
    copy_of_minires(copy, given.without)

    for name in NEVER_COPIED:
        assert (PACKAGE / name).exists() or name == "notebook_files"  # only a wheel has these
        assert not (copy / name).exists()
    assert not list(copy.rglob("__pycache__"))
    assert given.without
    for module in given.without:
        place = copy.joinpath(*module.split(".")[1:])
        for path in place.rglob("*.py") if place.is_dir() else [place.with_suffix(".py")]:
            tree = ast.parse(path.read_text())
            kinds = {type(node) for node in tree.body}
            assert kinds <= {ast.Expr, ast.ClassDef, ast.Assign}, path
            classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
            assert classes == ["_Absent"], path

    asked = subprocess.run(
        [sys.executable, "-c", ASK, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    failed, where = json.loads(asked.stdout)
    assert Path(where).parent == copy
    never = tuple(f"minires.{name}" for name in NEVER_COPIED)
    assert all(str(missing).startswith(never) for missing in failed.values()), failed


ATTACK = """
import gc, importlib, importlib.util, inspect, os, sys
import numpy

def find():
    import minires
    hollow, files = {without!r}, set()
    for name in hollow:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        files.add(module.__file__)
        for key, value in list(vars(module).items()):
            if key.startswith("__") or inspect.ismodule(value):
                continue
            if inspect.isfunction(value) or type(value).__name__ != "_Absent" and key != "_Absent":
                print("BREACH:", name, key)
            elif key != "_Absent":
                try:
                    value()
                    print("BREACH: called", name, key)
                except NameError:
                    pass
    waiting, seen = [object], set()
    while waiting:
        one = waiting.pop()
        if one not in seen and one is not type:
            seen.add(one)
            waiting += type.__subclasses__(one)
            absent = "_Absent" in (type(one).__name__, one.__name__)
            if one.__module__ in hollow and not absent:
                print("BREACH: a class", one)
    for thing in gc.get_objects():
        if inspect.isfunction(thing) and thing.__code__.co_filename in files:
            if thing.__name__ != "__call__":
                print("BREACH: a function", thing)
    beside = os.path.dirname(os.path.dirname(os.path.realpath(numpy.__file__)))
    for place in ({original!r}, beside):
        for name in ("minires", "torch", "pytest"):
            path = f"{{place}}/{{name}}/__init__.py"
            try:
                found = importlib.util.spec_from_file_location("original", path)
                found.loader.exec_module(importlib.util.module_from_spec(found))
                print("BREACH: loaded", path)
            except OSError:
                pass
        sys.path.insert(0, place)
        for name in list(sys.modules):
            if name.startswith("minires"):
                del sys.modules[name]
        import minires
        if not minires.__file__.startswith({site!r}):
            print("BREACH: imported", minires.__file__)
    for name in {never!r}:
        try:
            importlib.import_module(f"minires.{{name}}")
            print("BREACH: has", name)
        except ImportError:
            pass
    return "looked"
"""


@pytest.mark.parametrize("given", WITH_MINIRES, ids=lambda given: given.name)
def test_a_submission_does_not_get_at_what_is_hollow(given: Assignment) -> None:
    with Sandbox("minires", given.without) as sandbox:
        code = ATTACK.format(
            without=list(given.without),
            original=str(PACKAGE.parent),
            site=str(sandbox.site),
            never=[name.removesuffix(".py") for name in NEVER_COPIED],
        )
        outcome = sandbox.run(
            cells=[("attack", 1, code)], task="find", calls=[((), {})], limits=Limits(seconds=20)
        )
    if "files" not in outcome.walls:
        pytest.skip("this system has no Landlock, so the original is there to be read")
    assert [answer.error for answer in outcome.answers] == [None], outcome
    assert outcome.answers[0].value == "looked"
    assert "BREACH" not in outcome.printed, outcome.printed
