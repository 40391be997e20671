"""Make the .ipynb of every notebook from its py:percent text, without output.

    python notebooks/pair.py            write them
    python notebooks/pair.py --check    fail if one is not what its text says

The text is the source.  Cell ids are made from the notebook's name and the cell's position, so the
same text always gives the same file.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat

FOLDER = Path(__file__).parent
links: dict[str, Any] = runpy.run_path(str(FOLDER / "links.py"))


def sources() -> list[Path]:
    """The texts, in reading order, and after them the worked solutions."""
    names = "[0-9][0-9]_*.py"
    return sorted(FOLDER.glob(names)) + sorted((FOLDER / "solutions").glob(names))


def paired(source: Path) -> str:
    """The .ipynb that belongs to a text, as JSON."""
    notebook = jupytext.read(source, fmt="py:percent")
    if source.parent == FOLDER:  # a tutorial: with links to Colab and Binder, if there are any
        path = f"notebooks/{source.with_suffix('.ipynb').name}"
        make = {"markdown": nbformat.v4.new_markdown_cell, "code": nbformat.v4.new_code_cell}
        opening = links["opening"](links["repository"](), path)
        notebook.cells[:0] = [make[kind](text) for kind, text in opening]
    for i, cell in enumerate(notebook.cells):
        kind = "s" if source.parent.name == "solutions" else ""
        cell["id"] = f"{source.stem[:2]}{kind}-{i:03d}"
        cell["metadata"] = {}
        if cell.cell_type == "code":
            cell["outputs"] = []
            cell["execution_count"] = None
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    nbformat.validate(notebook)
    return nbformat.writes(notebook, version=4) + "\n"


def main(check: bool) -> int:
    """Write the pairs, or say which are out of step."""
    stale = []
    for source in sources():
        target, text = source.with_suffix(".ipynb"), paired(source)
        if not target.exists() or target.read_text() != text:
            stale.append(str(target.relative_to(FOLDER)))
            if not check:
                target.write_text(text)
    if stale:
        print("out of step: " if check else "written: ", ", ".join(stale), sep="")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
