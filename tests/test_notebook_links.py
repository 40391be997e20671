"""The table of tutorials, and the links to Colab and Binder that one setting makes."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = ROOT / "notebooks"
NAMES = sorted(path.name for path in NOTEBOOKS.glob("[0-9]*.ipynb"))
links: dict[str, Any] = runpy.run_path(str(NOTEBOOKS / "links.py"))


def pyproject(folder: Path, urls: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(f'[project]\nname = "x"\n{urls}\n')
    return path


def test_the_table_in_the_readme_is_what_the_notebooks_say() -> None:
    text = links["README"].read_text(encoding="utf-8")
    assert text == links["written"](text, links["repository"]()), "run: python notebooks/links.py"
    assert re.findall(r"^\| \d\d \| \[.+\]\((.+\.ipynb)\)", text, re.MULTILINE) == NAMES


@pytest.mark.parametrize("end", ["", "/", ".git"])
def test_one_setting_has_the_address(end: str, tmp_path: Path) -> None:
    urls = f'[project.urls]\nRepository = "https://github.com/some-one/mini.res{end}"'
    assert links["repository"](pyproject(tmp_path, urls)) == "some-one/mini.res"


@pytest.mark.parametrize("urls", ["", "[project.urls]", '[project.urls]\nRepository = ""'])
def test_without_an_address_there_are_no_links(urls: str, tmp_path: Path) -> None:
    assert links["repository"](pyproject(tmp_path, urls)) is None
    assert links["opening"](None, "notebooks/00_first_look.ipynb") == []
    assert "http" not in links["table"](None)


@pytest.mark.parametrize("address", ["https://example.org/a/b", "a/b", "https://github.com/a"])
def test_an_address_that_colab_cannot_open_is_refused(address: str, tmp_path: Path) -> None:
    urls = f'[project.urls]\nRepository = "{address}"'
    with pytest.raises(SystemExit, match=re.escape(f"Repository is '{address}'; Colab and")):
        links["repository"](pyproject(tmp_path, urls))


def test_links_have_the_form_that_colab_and_binder_document() -> None:
    name = "notebooks/08_where_the_gradient_goes.ipynb"
    assert links["colab"]("one/mini", name) == (
        f"https://colab.research.google.com/github/one/mini/blob/HEAD/{name}"
    )
    assert links["binder"]("one/mini", name) == (
        "https://mybinder.org/v2/gh/one/mini/HEAD"
        "?labpath=notebooks%2F08_where_the_gradient_goes.ipynb"
    )


def test_with_an_address_every_tutorial_has_both_links_to_a_file_that_is_there() -> None:
    found = re.findall(r"\[(Colab|Binder)\]\((\S+)\)", links["table"]("one/mini"))
    assert [service for service, _ in found] == ["Colab", "Binder"] * len(NAMES)
    for service, address in found:
        parts = urlsplit(address)
        path = unquote(parts.path).removeprefix("/github/one/mini/blob/HEAD/")
        name = path if service == "Colab" else parse_qs(parts.query)["labpath"][0]
        assert (ROOT / name).is_file(), address


def test_a_notebook_opened_on_colab_installs_the_package_and_elsewhere_does_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (kind, text), (code_kind, code) = links["opening"]("one/mini", f"notebooks/{NAMES[0]}")
    assert (kind, code_kind) == ("markdown", "code")
    assert links["colab"]("one/mini", f"notebooks/{NAMES[0]}") in text
    assert links["binder"]("one/mini", f"notebooks/{NAMES[0]}") in text
    line = '%pip install --quiet "minires @ git+https://github.com/one/mini"'
    assert line in code
    ran: list[str] = []
    plain = code.replace(line, f"ran.append({line!r})")
    exec(plain, {"ran": ran})
    assert ran == []
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    exec(plain, {"ran": ran})
    assert ran == [line]


def test_writing_the_table_leaves_the_rest_alone() -> None:
    text = f"before\n{links['BEGIN']}\nold\n{links['END']}\nafter\n"
    new = links["written"](text, "one/mini")
    assert new == text.replace("old", links["table"]("one/mini"))
    assert links["written"](new, "one/mini") == new


def test_binder_installs_the_package_from_the_clone() -> None:
    lines = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["-e .[notebooks]"]
    version = (ROOT / ".binder" / "runtime.txt").read_text().strip()
    assert version == "python-3.12"
