"""Write the table of tutorials into README.md here, with links to Colab and Binder.

    python notebooks/links.py            write it
    python notebooks/links.py --check    fail if it is not what the notebooks say

Titles, times and what each teaches are read from the notebooks.  The links come from one setting,
the address in pyproject.toml::

    [project.urls]
    Repository = "https://github.com/OWNER/NAME"

Without it there are none.  Colab and Binder open notebooks from public repositories on GitHub.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from urllib.parse import quote

from minires.tutorials import tutorials

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"
BEGIN, END = "<!-- tutorials: written by links.py -->", "<!-- end of tutorials -->"


def repository(pyproject: Path = FOLDER.parent / "pyproject.toml") -> str | None:
    """OWNER/NAME on GitHub, from the setting; None if there is no address."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository", "")
    if not address:
        return None
    found = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?", address)
    if found is None:
        raise SystemExit(
            f"pyproject.toml: Repository is {address!r}; Colab and Binder links need "
            "https://github.com/OWNER/NAME, or no address."
        )
    return found[1]


def colab(owner_name: str, notebook: str) -> str:
    """Where Colab opens a notebook, named from the root of the repository."""
    return f"https://colab.research.google.com/github/{owner_name}/blob/HEAD/{quote(notebook)}"


def binder(owner_name: str, notebook: str) -> str:
    """Where Binder does; it builds .binder/, so that the package is installed."""
    return f"https://mybinder.org/v2/gh/{owner_name}/HEAD?labpath={quote(notebook, safe='')}"


def install(owner_name: str) -> str:
    """The line that installs the package in a notebook on Colab."""
    return f'%pip install --quiet "minires @ git+https://github.com/{owner_name}"'


def opening(owner_name: str | None, notebook: str) -> list[tuple[str, str]]:
    """The cells, as (type, source), that a notebook begins with so that its links work.

    The code cell installs the package on Colab, where the link cannot, and does nothing elsewhere.
    """
    if owner_name is None:
        return []
    links = (
        f"Open this notebook in [Colab]({colab(owner_name, notebook)}) or "
        f"[Binder]({binder(owner_name, notebook)})."
    )
    code = f'import sys\n\nif "google.colab" in sys.modules:\n    {install(owner_name)}'
    return [("markdown", links), ("code", code)]


def table(owner_name: str | None) -> str:
    """The tutorials in reading order, as Markdown."""
    rows = [["", "tutorial", "afterwards you", "minutes"], ["--:", "---", "---", "--:"]]
    for tutorial in tutorials():
        name = tutorial.path.name
        row = [tutorial.number, f"[{tutorial.title}]({name})", tutorial.teaches]
        rows.append([*row, "-" if tutorial.minutes is None else str(tutorial.minutes)])
        if owner_name:
            notebook = f"notebooks/{name}"
            links = (colab(owner_name, notebook), binder(owner_name, notebook))
            rows[-1].append("[Colab]({}) [Binder]({})".format(*links))
    if owner_name:
        rows[0].append("open in")
        rows[1].append("---")
    lines = [f"| {' | '.join(row)} |" for row in rows]
    if owner_name:
        lines += [
            "",
            "Binder installs minires and needs no account. On Colab the first cell installs it: "
            f"`{install(owner_name)}`.",
        ]
    return "\n".join(lines)


def written(text: str, owner_name: str | None) -> str:
    """README.md with the table as it should be."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{table(owner_name)}\n{END}{after}"


def main(check: bool) -> int:
    """Write the table, or say that it is out of step."""
    now = README.read_text(encoding="utf-8")
    then = written(now, repository())
    if now == then:
        return 0
    if check:
        print("notebooks/README.md is out of step; run: python notebooks/links.py")
        return 1
    README.write_text(then, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
