"""Every notebook is its text, without output; pytest runs the notebooks themselves (nbmake)."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

KINDS = ("notebooks", "solutions")
FOLDER = Path(__file__).parent.parent / "notebooks"
pair: dict[str, Any] = runpy.run_path(str(FOLDER / "pair.py"))
SOURCES: list[Path] = pair["sources"]()
each_source = pytest.mark.parametrize(
    "source", SOURCES, ids=[str(path.relative_to(FOLDER)) for path in SOURCES]
)


def test_there_are_notebooks() -> None:
    assert SOURCES[0].stem == "00_first_look"


def test_every_tutorial_but_the_first_look_has_its_solutions() -> None:
    names = {kind: [s.name for s in SOURCES if s.parent.name == kind] for kind in KINDS}
    assert names["solutions"] == names["notebooks"][1:]


@each_source
def test_ipynb_is_what_its_text_says(source: Path) -> None:
    assert source.with_suffix(".ipynb").read_text() == pair["paired"](source), (
        "run: python notebooks/pair.py"
    )


@each_source
def test_ipynb_carries_no_output_and_unique_stable_ids(source: Path) -> None:
    cells = json.loads(source.with_suffix(".ipynb").read_text())["cells"]
    ids = [cell["id"] for cell in cells]
    assert len(set(ids)) == len(ids)
    kind = "s" if source.parent.name == "solutions" else ""
    assert ids[0] == f"{source.stem[:2]}{kind}-000"
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def test_a_changed_text_is_found_out_of_step(tmp_path: Path) -> None:
    source = tmp_path / "00_first_look.py"
    source.write_text(SOURCES[0].read_text() + "\n# %%\n1 + 1\n")
    assert pair["paired"](source) != SOURCES[0].with_suffix(".ipynb").read_text()
