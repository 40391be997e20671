"""Notebooks are executed once, and what came out is kept for whoever wants it next.

pytest executes all of them, and ``notebooks/conftest.py`` keeps the outcome.  The site shows it, as
long as neither the notebook nor the library has changed since.
"""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
KEPT = ROOT / "build" / "notebooks"


def sources() -> list[Path]:
    """All notebooks, the worked solutions after the tutorials."""
    names = "[0-9][0-9]_*.ipynb"
    return sorted(NOTEBOOKS.glob(names)) + sorted((NOTEBOOKS / "solutions").glob(names))


@cache
def _library() -> bytes:
    """A digest of all sources of minires."""
    digest = hashlib.sha256()
    package = ROOT / "minires"
    for path in sorted(package.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(f"{path.relative_to(package).as_posix()}\0".encode())
            digest.update(path.read_bytes())
    return digest.digest()


def _key(source: Path) -> str:
    """What the outcome depends on, that is in the repository."""
    return hashlib.sha256(_library() + source.read_bytes()).hexdigest()


def place(source: Path) -> Path:
    """Where the executed notebook is kept."""
    return KEPT / source.relative_to(NOTEBOOKS)


def keep(source: Path, notebook: Any) -> None:
    """Keep an executed notebook."""
    notebook = nbformat.from_dict({**notebook})
    notebook.metadata["minires"] = {"made_from": _key(source)}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran
    target = place(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.getpid()}")
    nbformat.write(notebook, unfinished)
    os.replace(unfinished, target)


def kept(source: Path, *, stale: bool = False) -> Any | None:
    """The executed notebook, if there is one of this text and this library.

    With ``stale`` the library, but not the notebook, may have changed since.
    """
    target = place(source)
    if not target.exists():
        return None
    notebook = nbformat.read(target, as_version=4)
    if notebook.metadata.get("minires", {}).get("made_from") == _key(source):
        return notebook
    text = nbformat.read(source, as_version=4)
    same = [c.source for c in notebook.cells] == [c.source for c in text.cells]
    return notebook if stale and same else None


def execute(source: Path) -> Any:
    """Execute a notebook from top to bottom, keep it, and return it; what it raises is raised."""
    from nbclient import NotebookClient

    notebook = nbformat.read(source, as_version=4)
    NotebookClient(notebook, timeout=600).execute(cwd=str(source.parent))
    keep(source, notebook)
    return notebook
