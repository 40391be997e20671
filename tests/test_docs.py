"""The site's pages: their code runs, their links lead somewhere, and no name is left out.

The site itself is built and checked by ``python docs/build.py``, which .ci/run does.
"""

from __future__ import annotations

import doctest
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import minires
from docs import checks, docstrings, executed, reference
from minires.exercises.on_cpu import has_compiler

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if "_static" not in path.parts)
each_page = pytest.mark.parametrize(
    "page", PAGES, ids=[path.relative_to(DOCS).as_posix() for path in PAGES]
)
BLOCK = re.compile(
    r"(<!-- needs a C\+\+ compiler -->\n)?```(python|text|console)\n(.*?)```", re.DOTALL
)
# How a block of commands is run; 1 is what `minires course check` says while something is missing.
CONSOLE = """
import subprocess
def console(command):
    ran = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert ran.returncode in (0, 1), ran.stderr
    print(ran.stdout, end="")
"""


def blocks(page: Path) -> list[tuple[str, str, bool]]:
    """The blocks of Python and of text that a page has: language, content, needs a compiler.

    Each command of a console is a block of Python, and what stands below it a block of text.
    """
    found = []
    for needs, language, content in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language != "console":
            found.append((language, content, bool(needs)))
            continue
        for part in re.split(r"^\$ ", content, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found += [("python", f"console({command!r})", False), ("text", output, False)]
    return found


def words(text: str) -> list[str]:
    """Last digits depend on the processor, all else does not."""
    return re.sub(r"[-+]?\d[\d.e+-]*", lambda n: f"{float(n[0].rstrip('.')):.2g}", text).split()


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(language == "python" for language, *_ in blocks(page))],
    ids=lambda page: page.relative_to(DOCS).as_posix(),
)
def test_the_blocks_of_a_page_run_in_order_and_print_what_it_shows(
    page: Path, tmp_path: Path
) -> None:
    script, shown = ["import sys", CONSOLE], []
    for language, content, needs_compiler in blocks(page):
        if needs_compiler and not has_compiler():
            pytest.skip("kernels run on the CPU through a C++ compiler")
        if language == "python":
            script.append(f"print('=====')\n{content}")
            shown.append("")
        else:
            shown[-1] += content
    programs, work = tmp_path / "bin", tmp_path / "work"
    programs.mkdir()
    work.mkdir()
    (programs / "minires").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m minires "$@"\n')
    (programs / "minires").chmod(0o755)
    places = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(script)],
        capture_output=True,
        text=True,
        cwd=work,
        env={**os.environ, **places, "PYTHONIOENCODING": "utf-8", "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    printed = ran.stdout.split("=====\n")[1:]
    assert len(printed) == len(shown)
    for found, expected in zip(printed, shown, strict=True):
        if expected.endswith("...\n"):  # only the beginning is shown
            begun = words(expected)[:-1]
            assert words(found)[: len(begun)] == begun
        elif expected:
            assert words(found) == words(expected)


@each_page
def test_links_of_a_page_lead_to_files_that_are_there(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    made = {DOCS / "reference" / name for name in reference.pages()}
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if re.match(r"https?:", link):
            continue
        target = Path(os.path.normpath(page.parent / link))
        if target.parent == DOCS / "tutorials" and target.suffix == ".ipynb":
            target = executed.NOTEBOOKS / target.name
        assert target in made or target.is_file(), link


def test_every_page_is_in_a_table_of_contents() -> None:
    listed = {DOCS / "index.md"}
    for page in PAGES:
        for toctree in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL):
            for line in toctree.splitlines():
                if line and not line.startswith(":") and "[" not in line:
                    listed.add(page.parent / f"{line}.md")
    assert set(PAGES) <= listed


# --- the reference ---


def test_every_public_name_has_an_entry() -> None:
    pages = reference.pages()
    for module in reference.module_names():
        entries = re.findall(
            r"^\.\. (?:auto|py:)\w+:: (\S+)$", pages[f"{module}.rst"], re.MULTILINE
        )
        documented = {entry.removeprefix(f"{module}.") for entry in entries}
        assert documented == {module, *reference.public(module)}


def test_every_part_of_minires_that_is_public_has_a_page() -> None:
    """What ``minires.__all__`` names, and what the modules there name in turn."""
    wanted, found = ["minires"], set()
    while wanted:
        name = wanted.pop()
        module = importlib.import_module(name)
        found.add(name)
        values = [getattr(module, part) for part in getattr(module, "__all__", ())]
        wanted += [v.__name__ for v in values if inspect.ismodule(v) and v.__name__ not in found]
    assert found <= set(reference.module_names())


def test_every_public_name_has_a_docstring() -> None:
    missing = []
    for full in reference.public_names():
        module, _, name = full.rpartition(".")
        value = getattr(importlib.import_module(module), name)
        if callable(value) and not inspect.getdoc(value):
            missing.append(full)
    assert missing == []


def test_docstrings_become_restructured_text() -> None:
    assert doctest.testmod(docstrings).failed == 0
    text = """\
    Normalise |x|.

        out = x * |a|
            + b

    - one *thing*,

      and more of it;
    - ``|c|``.

    Args:
        x: of |x|.

        y: second.

    >>> 1 | 2
    3
    """
    rst = "\n".join(docstrings.as_rst(inspect.cleandoc(text).splitlines()))
    assert rst == inspect.cleandoc(
        r"""
        Normalise \|x\|.

        ::

            out = x * |a|
                + b

        - one *thing*,

          and more of it;
        - ``|c|``.

        Args:
            x: of \|x\|.

            y: second.

        >>> 1 | 2
        3
        """
    )


def test_a_name_is_looked_up_where_it_is_public() -> None:
    names = docstrings.public_names()
    assert names["minires.nn.module.Module"] == "minires.nn.Module"
    assert names["minires.autograd.tensor.Tensor"] == "minires.Tensor"
    assert names["minires.flow.ledger.Ledger"] == "minires.flow.Ledger"


# --- what is checked of the site ---


def a_site(folder: Path, body: str) -> Path:
    folder.mkdir()
    (folder / "index.html").write_text(f'<html><body id="top">{body}</body></html>')
    (folder / "other.html").write_text('<p id="here">')
    names = "minires.a py:function 1 x.html#$ -\nminires py:module 0 x.html -\n"
    head = b"# Sphinx inventory version 2\n# Project: x\n# Version: 1\n# compressed\n"
    (folder / "objects.inv").write_bytes(head + zlib.compress(names.encode()))
    return folder


def test_good_links_are_let_pass(tmp_path: Path) -> None:
    site = a_site(
        tmp_path / "site",
        '<a href="other.html#here">a</a><a href="#top">b</a><a href="https://example.org">c</a>',
    )
    assert checks.problems(site, ["minires.a"], ["minires"]) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="gone.html">', "index.html: the link gone.html leads nowhere"),
        ('<img src="gone.png">', "index.html: the link gone.png leads nowhere"),
        (
            '<a href="other.html#gone">',
            "index.html: the link other.html#gone names an anchor that is not there",
        ),
        (
            '<script src="https://cdn.example.org/x.js">',
            "index.html: loads https://cdn.example.org/x.js from elsewhere",
        ),
        (
            '<link rel="stylesheet" href="//fonts.example.org/x.css">',
            "index.html: loads //fonts.example.org/x.css from elsewhere",
        ),
    ],
)
def test_what_is_wrong_with_a_site_is_found(tmp_path: Path, body: str, problem: str) -> None:
    assert checks.problems(a_site(tmp_path / "site", body), [], []) == [problem]


def test_a_name_that_is_missing_from_the_reference_is_found(tmp_path: Path) -> None:
    site = a_site(tmp_path / "site", "")
    assert checks.problems(site, ["minires.b"], []) == ["minires.b is not in the reference"]


# --- executed notebooks ---


def test_an_executed_notebook_is_taken_until_its_text_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setattr(executed, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr(executed, "KEPT", tmp_path / "kept")
    source = tmp_path / "01_a.ipynb"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    nbformat.write(notebook, source)
    assert executed.kept(source) is None
    notebook.cells[0].execution_count = 7
    executed.keep(source, notebook)
    assert executed.kept(source).cells[0].execution_count == 7

    monkeypatch.setattr(executed, "_library", lambda: b"another")
    assert executed.kept(source) is None
    assert executed.kept(source, stale=True).cells[0].execution_count == 7

    changed = json.loads(source.read_text())
    changed["cells"][0]["source"] = "1 + 2"
    source.write_text(json.dumps(changed))
    assert executed.kept(source, stale=True) is None


def test_the_version_of_the_site_is_that_of_the_package() -> None:
    assert "release = minires.__version__" in (DOCS / "conf.py").read_text()
    assert minires.__version__
