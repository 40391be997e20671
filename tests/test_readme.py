"""The README's Python runs, and prints what the README says it prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def block(marker: str, language: str) -> str:
    """The first code block of ``language`` after a marker."""
    found = re.search(rf"<!-- {marker} -->.*?```{language}\n(.*?)```", README, re.DOTALL)
    assert found, f"README.md has no {language} block after {marker!r}"
    return found.group(1)


def numbers(text: str) -> list[float]:
    return [float(n) for n in re.findall(r"[-+]?\d+\.\d+(?:e[-+]?\d+)?", text)]


def test_ten_lines_of_python_print_the_ledger_that_the_readme_shows() -> None:
    code = block("ten lines", "python")
    assert len([line for line in code.splitlines() if line]) == 10
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert run.returncode == 0, run.stderr
    shown = block("ten lines", "text")
    assert run.stdout.splitlines()[0] == shown.splitlines()[0]
    # Another BLAS rounds differently in the last digits.
    np.testing.assert_allclose(numbers(run.stdout), numbers(shown), rtol=0.01, atol=0.005)
    assert len(numbers(shown)) == 12


@pytest.mark.parametrize("marker", ["gradcheck", "diagnose"])
def test_the_checks_of_a_gradient_print_what_the_readme_shows(marker: str) -> None:
    code, shown = block(marker, "python"), block(marker, "text")
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
    )
    assert run.returncode == 0, run.stderr

    def words(text: str) -> list[str]:  # steps and last digits depend on the processor
        return re.sub(r"[-+]?\d[\d.e+-]*", "0", text).split()

    assert words(run.stdout) == words(shown)


def test_images_are_there() -> None:
    images = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert images
    for image in images:
        assert (ROOT / image).is_file(), image


def test_every_package_named_in_the_table_of_floors_exists() -> None:
    table = README[README.index("| floor |") :]
    table = table[: table.index("\n\n")]
    names = re.findall(r"`(\w+)`", "\n".join(line.split("|")[2] for line in table.splitlines()))
    assert len(names) >= 12
    for name in names:
        path = ROOT / "minires" / name
        assert path.is_dir() or path.with_suffix(".py").is_file(), name
