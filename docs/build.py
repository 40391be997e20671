"""Build the site, without a network, into build/site.

    python docs/build.py            execute the notebooks that need it, build, check
    python docs/build.py --draft    go on at warnings, build only what has changed, execute nothing,
                                    and take the outputs of an older library, or none

A warning is an error.  It needs ``pip install -e '.[docs]'``.  The notebooks are those that pytest
has executed; see docs/executed.py.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import nbformat

from docs import checks, executed, reference

DOCS = Path(__file__).parent
ROOT = DOCS.parent
BUILD = ROOT / "build"
SOURCE = BUILD / "site-source"
SITE = BUILD / "site"


def notebooks(*, draft: bool) -> dict[str, str]:
    """The executed notebooks, by their place in the site."""
    found = {}
    for source in executed.sources():
        notebook = executed.kept(source, stale=draft)
        name = source.relative_to(executed.NOTEBOOKS).as_posix()
        if notebook is None and draft:
            notebook = nbformat.read(source, as_version=4)
            print(f"not executed: {name}")
        elif notebook is None:
            began = time.perf_counter()
            notebook = executed.execute(source)
            print(f"executed {name} in {time.perf_counter() - began:.0f} s", flush=True)
        for cell in notebook.cells:
            if cell.cell_type == "markdown":  # from notebooks/ to docs/ is up and down again
                cell.source = re.sub(r"\]\(((?:\.\./)+)docs/", r"](\1", cell.source)
        found[f"tutorials/{name}"] = nbformat.writes(notebook, version=4)
    return found


def assemble(files: dict[str, str]) -> None:
    """Lay out what Sphinx reads: the pages of this folder, and the ``files`` that were made."""
    wanted = {Path(name): text.encode() for name, text in files.items()}
    for path in sorted(DOCS.rglob("*")):
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts:
            wanted[path.relative_to(DOCS)] = path.read_bytes()
    for path in sorted(SOURCE.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(SOURCE) not in wanted:
            path.unlink()
    for name, content in wanted.items():
        target = SOURCE / name
        if not target.exists() or target.read_bytes() != content:  # Sphinx goes by the time of it
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="docs/build.py", description="Build the site.")
    parser.add_argument(
        "--draft", action="store_true", help="go on at warnings, and execute nothing"
    )
    options = parser.parse_args(arguments)
    if not options.draft:  # a page that is not built again would keep its old links
        for folder in (SOURCE, SITE, BUILD / "site-doctrees"):
            shutil.rmtree(folder, ignore_errors=True)

    files = notebooks(draft=options.draft)
    began = time.perf_counter()
    files |= {f"reference/{name}": text for name, text in reference.pages().items()}
    assemble(files)

    from sphinx.cmd.build import build_main

    strict = [] if options.draft else ["--fail-on-warning"]
    words = ["-c", str(DOCS), "-d", str(BUILD / "site-doctrees"), "-q", "-j", "auto", *strict]
    failed = build_main([*words, "-b", "html", str(SOURCE), str(SITE)])
    if failed and not options.draft:
        return failed
    problems = checks.problems(SITE, reference.public_names(), reference.module_names())
    for problem in problems:
        print(problem)
    seconds = time.perf_counter() - began
    print(f"{SITE / 'index.html'}: {len(problems)} problems, {seconds:.0f} s beside the notebooks")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
