"""A built wheel works by itself: its files, and the main job away from the source tree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path
from typing import Any

import pytest

import minires
from minires.course.assignment import PRIVATE_FILES

ROOT = Path(minires.__file__).parents[1]

ASSIGNMENTS = ROOT / "minires" / "course" / "assignments"
NOTEBOOKS = "minires/notebook_files/"  # where a wheel has them


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked, as an installer would do it."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def away(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the unpacked wheel on its path and the source tree nowhere."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_wheel_is_for_any_platform_and_small(wheel: Path) -> None:
    assert wheel.name == f"minires-{minires.__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < 5_000_000


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    package = ROOT / "minires"
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in package.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not (ASSIGNMENTS in path.parents and path.name in PRIVATE_FILES)
    }
    inside = {name for name in names(wheel) if name.startswith("minires/")}
    assert {name for name in inside if not name.startswith(NOTEBOOKS)} == expected
    assert "minires/py.typed" in inside
    assert "minires/data/files/digits.npz" in inside
    assert "minires/data/files/fashion_mnist.npz" in inside
    assert "minires/data/files/ATTRIBUTION.md" in inside


def test_tutorials_and_their_solutions_are_in_the_wheel_and_nothing_else_of_their_folder(
    wheel: Path,
) -> None:
    folder = ROOT / "notebooks"
    paths = [*folder.glob("[0-9]*.ipynb"), *folder.glob("solutions/[0-9]*.ipynb")]
    expected = {NOTEBOOKS + path.relative_to(folder).as_posix() for path in paths}
    assert {name for name in names(wheel) if name.startswith(NOTEBOOKS)} == expected
    assert f"{NOTEBOOKS}00_first_look.ipynb" in expected
    assert f"{NOTEBOOKS}solutions/01_autograd.ipynb" in expected


def test_nothing_else_is_in_the_wheel(wheel: Path) -> None:
    info = f"minires-{minires.__version__}.dist-info"
    others = {name for name in names(wheel) if not name.startswith("minires/")}
    assert {name.split("/")[0] for name in others} == {info}
    parts = {part for name in names(wheel) for part in name.split("/")}
    assert not any(part.startswith("test") for part in parts)


def test_licences_are_in_the_wheel(installed: Path) -> None:
    licences = installed / f"minires-{minires.__version__}.dist-info" / "licenses"
    assert (licences / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    attribution = licences / "minires" / "data" / "files" / "ATTRIBUTION.md"
    assert "CC BY 4.0" in attribution.read_text(encoding="utf-8")


def test_metadata_say_what_is_needed_and_name_the_command(installed: Path) -> None:
    info = installed / f"minires-{minires.__version__}.dist-info"
    metadata = HeaderParser().parsestr((info / "METADATA").read_text(encoding="utf-8"))
    assert metadata["Name"] == "minires"
    assert metadata["Version"] == minires.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    needed = [text for text in metadata.get_all("Requires-Dist") or [] if "extra ==" not in text]
    bare = {text.split(">")[0].split(";")[0].strip() for text in needed}
    assert bare == {"numpy", "matplotlib", "threadpoolctl", "tqdm"}
    scripts = (info / "entry_points.txt").read_text(encoding="utf-8")
    assert "minires = minires.cli.main:main" in scripts


def test_the_unpacked_wheel_is_the_one_that_is_imported(installed: Path, tmp_path: Path) -> None:
    ran = away(installed, tmp_path, "-c", "import minires; print(minires.__file__)")
    assert ran.stderr == ""
    assert Path(ran.stdout.strip()).is_relative_to(installed)


def test_the_main_job_runs_from_the_wheel_away_from_the_sources(
    installed: Path, tmp_path: Path
) -> None:
    words = ["--depths", "8", "--width", "2", "--epochs", "1", "--batch-size", "512"]
    ran = away(installed, tmp_path, "-m", "minires", "compare", *words, "--out", "o")
    assert ran.returncode == 0, ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout.startswith("kind ")
    assert sorted(os.listdir(tmp_path / "o")) == [
        *("curves.png", "gradient_flow.png", "report.html", "results.json")
    ]
    results: dict[str, Any] = json.loads((tmp_path / "o" / "results.json").read_text())
    assert [run["kind"] for run in results["runs"]] == ["plain", "residual"]


def test_tutorials_are_listed_and_copied_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    ran = away(installed, tmp_path, "-m", "minires", "notebooks", "list")
    assert (ran.returncode, ran.stderr) == (0, "")
    source = installed / NOTEBOOKS
    paths = sorted(source.glob("*.ipynb"))
    assert [line[:2] for line in ran.stdout.splitlines()[2:]] == [p.name[:2] for p in paths]
    ran = away(installed, tmp_path, "-m", "minires", "notebooks", "copy", "mine", "--solutions")
    assert (ran.returncode, ran.stderr) == (0, "")
    copied = {p.relative_to(tmp_path / "mine"): p.read_bytes() for p in tmp_path.rglob("*.ipynb")}
    assert copied == {p.relative_to(source): p.read_bytes() for p in source.rglob("*.ipynb")}


def test_the_entry_point_is_a_function_that_returns_the_exit_code(
    installed: Path, tmp_path: Path
) -> None:
    """What the installed ``minires`` script does."""
    code = "import sys; from minires.cli.main import main; sys.exit(main())"
    ran = away(installed, tmp_path, "-c", code, "compare", "--data", "nothing")
    assert ran.returncode == 2
    assert ran.stderr.startswith("minires compare: error: unknown data set 'nothing'; known: ")
