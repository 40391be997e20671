"""The pages of the reference: one for each public module, with every name in its ``__all__``."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import minires.exercises
from docs.docstrings import escaped

# What a page is called, in the order in which they are listed.
MODULES = {
    "minires": "minires: tensors",
    "minires.functional": "functional: operations",
    "minires.nn": "nn: layers and blocks",
    "minires.nn.init": "nn.init: initialisation",
    "minires.optim": "optim: optimisers",
    "minires.optim.lr_scheduler": "optim.lr_scheduler: schedules",
    "minires.data": "data: data sets and batches",
    "minires.models": "models: networks of the papers",
    "minires.train": "train: the training loop",
    "minires.saving": "saving: weights in files",
    "minires.flow": "flow: the microscope",
    "minires.flow.theory": "flow.theory: what theory predicts",
    "minires.viz": "viz: figures and pages",
    "minires.check": "check: gradients and mistakes",
    "minires.autograd": "autograd: the engine",
    "minires.kernels": "kernels: the mathematics on arrays",
    "minires.kernels.reference": "kernels.reference: textbook loops",
    "minires.cuda": "cuda: the GPU",
    "minires.experiments": "experiments: compare",
    "minires.bench": "bench: measured beside PyTorch",
    "minires.exercises": "exercises: of the tutorials",
    "minires.errors": "errors: what is raised",
    "minires.result": "result: what instruments return",
    "minires.tutorials": "tutorials: the notebooks",
    "minires.course": "course: assignments and their grading",
    "minires.course.in_notebook": "course.in_notebook: checks in a notebook",
}
# Further pages are made for the modules of minires.exercises.


@cache
def module_names() -> list[str]:
    """All modules that have a page."""
    exercises = pkgutil.iter_modules(minires.exercises.__path__, "minires.exercises.")
    return [*MODULES, *(module.name for module in exercises)]


def public(module_name: str) -> list[str]:
    """The names that a module declares public, without the modules among them."""
    module = importlib.import_module(module_name)
    names = getattr(module, "__all__", [])
    return [name for name in names if not isinstance(getattr(module, name), ModuleType)]


def public_names() -> list[str]:
    """Every public name that the reference must have, in full."""
    return [f"{module}.{name}" for module in module_names() for name in public(module)]


def _home(module_name: str, value: Any) -> str:
    """The page on which something is documented; on others that have it, they point there."""
    own = getattr(value, "__module__", None)
    if inspect.isclass(value):
        for page in ([own] if own in module_names() else []) + list(MODULES):
            if any(getattr(importlib.import_module(page), n) is value for n in public(page)):
                return page
    return own if own in module_names() else module_name


def _comment(module_name: str, name: str) -> str:
    """What the source says of a constant, beside it or above it."""
    package = Path(importlib.import_module(module_name).__file__ or "")
    files = sorted(package.parent.rglob("*.py")) if package.stem == "__init__" else [package]
    for file in files:
        lines = file.read_text(encoding="utf-8").splitlines()
        for i, line in enumerate(lines):
            if not re.match(rf"{name}(: [^=]+)? = ", line):
                continue
            beside = re.search(r"  # (.+)$", line)
            if beside:
                return beside[1]
            above = []
            while i and lines[i - 1].startswith("# "):
                i -= 1
                above.insert(0, lines[i][2:])
            return " ".join(above)
    return ""


def _entry(module_name: str, name: str) -> tuple[str, str]:
    """The section of a name, and the directive that documents it."""
    value: Any = getattr(importlib.import_module(module_name), name)
    full = f"{module_name}.{name}"
    home = _home(module_name, value)
    if home != module_name:
        kind, section = (
            ("class", "Classes") if inspect.isclass(value) else ("function", "Functions")
        )
        said = f"   The same as :py:obj:`{home}.{name}`.\n"
        return section, f".. py:{kind}:: {name}\n   :module: {module_name}\n\n{said}"
    if inspect.isclass(value) and issubclass(value, BaseException):
        return "Errors", f".. autoexception:: {full}\n   :show-inheritance:\n"
    if inspect.isclass(value):
        return "Classes", f".. autoclass:: {full}\n   :members:\n   :show-inheritance:\n"
    if callable(value):
        return "Functions", f".. autofunction:: {full}\n"
    said = escaped(_comment(module_name, name))
    return "Data", f".. autodata:: {full}\n   :no-value:\n\n   {said}\n"


def page(module_name: str) -> str:
    """The page of a module, as reStructuredText."""
    title = MODULES.get(module_name, module_name.removeprefix("minires."))
    lines = [title, "=" * len(title), "", f".. automodule:: {module_name}", ""]
    sections: dict[str, list[tuple[str, str]]] = {}
    for name in public(module_name):
        section, directive = _entry(module_name, name)
        sections.setdefault(section, []).append((name, directive))
    for section in ("Functions", "Classes", "Errors", "Data"):
        entries = sections.get(section)
        if not entries:
            continue
        lines += [section, "-" * len(section), ""]
        if section != "Data" and len(entries) > 1:
            lines += [".. autosummary::", "   :nosignatures:", ""]
            lines += [f"   {name}" for name, _ in entries] + [""]
        lines += [directive for _, directive in entries]
    return "\n".join(lines) + "\n"


def index() -> str:
    """The page that lists the others."""
    title = "Reference"
    lines = [title, "=" * len(title), ""]
    lines += [
        "Every public name, from its docstring. The names are PyTorch's where PyTorch has the same",
        "thing. Shapes are written as ``(N, C, H, W)``: batch, channels, rows, columns.",
        "",
        ".. toctree::",
        "   :maxdepth: 1",
        "",
        *(f"   {name}" for name in MODULES),
        "",
        ".. toctree::",
        "   :maxdepth: 1",
        "   :caption: Exercises, one module a tutorial",
        "",
        *(f"   {name}" for name in module_names() if name not in MODULES),
        "",
    ]
    return "\n".join(lines)


def pages() -> dict[str, str]:
    """File name -> text."""
    return {"index.rst": index()} | {f"{name}.rst": page(name) for name in module_names()}
