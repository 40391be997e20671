"""A small assignment and a small class, for tests that have to be quick."""

from __future__ import annotations

from pathlib import Path

from minires.course.assignment import Assignment

TOML = """
title = "Twice, and four times"
about = "Multiply."
minutes = 5

[[task]]
name = "twice"
title = "Two times"
points = 3
hint = "Which number times x?"

[[task]]
name = "fourfold"
title = "Four times"
points = 1.5
uses = ["twice"]
hint = "Use twice."
"""
MASTER = '''# %%
"""Multiply."""

# %% task: twice
def twice(x):
    """2 x."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% task: fourfold
def fourfold(x):
    """4 x."""
    ### BEGIN SOLUTION
    return twice(twice(x))
    ### END SOLUTION
'''
CASES = """from minires.course import case

def twice(rng):
    yield case(rng.standard_normal(3))

fourfold = twice
"""
MISTAKES = """
[[mistake]]
name = "squared"
title = "x is squared"
hint = "What is 2 times 3?"
tasks = ["twice"]
edits = [{ old = "return 2 * x", new = "return x * x" }]
"""
RIGHT = "def twice(x):\n    return x + x\n\n\ndef fourfold(x):\n    return 4 * x\n"
SQUARED = RIGHT.replace("x + x", "x * x")
HALF = "def twice(x):\n    return x + x\n"


def small_assignment(folder: Path) -> Assignment:
    """The assignment a90_small, written below ``folder``."""
    place = folder / "a90_small"
    place.mkdir(parents=True)
    files = {
        "assignment.toml": TOML,
        "master.py": MASTER,
        "cases.py": CASES,
        "mistakes.toml": MISTAKES,
        "handout.md": "# a90\n",
    }
    for name, text in files.items():
        (place / name).write_text(text)
    return Assignment(place)


def hand_in(folder: Path, **texts: str) -> Path:
    """A folder with a script a student."""
    folder.mkdir(exist_ok=True)
    for student, text in texts.items():
        (folder / f"{student}.py").write_text(text)
    return folder
