"""Tutorials in JupyterLab, as a learner opens them: all cells run, without errors, with figures."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browsers import real_browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        importlib.util.find_spec("jupyterlab") is None, reason="JupyterLab is not installed"
    ),
]

# The first, and one that draws with matplotlib; figures that each shows at least.
TUTORIALS = {"00_first_look": 2, "03_convolution": 3}
LONGEST = 180.0  # seconds for a notebook, far more than it takes: other work may run beside it

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
IDLE = re.compile(r"\(ipykernel\) \| Idle")  # in the status bar
PROMPTS = ".jp-CodeCell .jp-InputPrompt"
FIGURES = ".jp-OutputArea-output :is(img, svg)"
ERRORS = '.jp-OutputArea-output:is([data-mime-type$=".error"], [data-mime-type$=".stderr"])'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for this file alone: two playwrights at a time do not get on."""
    with real_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def working_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a notebook of the learner's own in it, in which two things go wrong."""
    folder = tmp_path_factory.mktemp("learner") / "notebooks"
    folder.mkdir()
    notebook = {"nbformat": 4, "nbformat_minor": 5, "metadata": KERNEL, "cells": []}
    for i, source in enumerate(['import sys; print("oh", file=sys.stderr)', "1 / 0", "2"]):
        cell = {"cell_type": "code", "id": f"c{i}", "source": source, "metadata": {}}
        notebook["cells"].append(cell | {"outputs": [], "execution_count": None})
    (folder / "mine.ipynb").write_text(json.dumps(notebook))
    return folder


@pytest.fixture(scope="module")
def address(browser: Browser, working_copy: Path) -> Iterator[str]:
    """``minires notebooks start`` in a home of its own; the address that JupyterLab prints."""
    home = working_copy.parent
    settings = home / ".jupyter/lab/user-settings/@jupyterlab/notebook-extension"
    settings.mkdir(parents=True)
    # Cells that are out of sight must be in the page too.
    (settings / "tracker.jupyterlab-settings").write_text(json.dumps({"windowingMode": "none"}))
    words = ["notebooks", "start", str(working_copy), "--no-browser", "--allow-root"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JUPYTER")}
    log = home / "jupyterlab.log"
    with log.open("wb") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "minires", *words],
            env={**environment, "HOME": str(home), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield printed_address(server, log)
        finally:
            os.killpg(server.pid, 15)
            server.wait(30)


def printed_address(server: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        found = re.search(r"http://(?:localhost|127\.0\.0\.1):\d+/lab\?token=\w+", log.read_text())
        if found:
            return found[0]
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")


def opened(browser: Browser, address: str, name: str) -> Page:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(address.replace("/lab?", f"/lab/workspaces/{name[:2]}/tree/{name}.ipynb?"))
    return page


def run_all_cells(page: Page) -> None:
    """Run > Run All Cells, as soon as the kernel is there, and wait for the last one."""
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=60_000)
    page.get_by_text(IDLE).wait_for(timeout=60_000)
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    end = time.monotonic() + LONGEST
    while not (page.locator(ERRORS).count() or all(map(str.isdigit, numbers(page)))):
        assert time.monotonic() < end, f"still running: {numbers(page)}"
        page.wait_for_timeout(200)
    page.get_by_text(IDLE).wait_for()


def numbers(page: Page) -> list[str]:
    """What stands in brackets beside each code cell: a number, when it has run."""
    return [text.strip("[]: ") for text in page.locator(PROMPTS).all_text_contents()]


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_runs_in_jupyterlab(
    name: str, browser: Browser, address: str, working_copy: Path
) -> None:
    page = opened(browser, address, name)
    run_all_cells(page)
    assert page.locator(ERRORS).all_text_contents() == []
    cells = json.loads((working_copy / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert numbers(page) == [str(i) for i in range(1, len(code) + 1)]
    sizes = page.locator(FIGURES).evaluate_all(
        "all => all.map(e => [e.getBoundingClientRect().width, e.naturalWidth ?? 1])"
    )
    assert len(sizes) >= TUTORIALS[name]
    assert min(width for size in sizes for width in size) > 0
    page.close()


def test_what_goes_wrong_in_a_cell_is_seen(browser: Browser, address: str) -> None:
    page = opened(browser, address, "mine")
    run_all_cells(page)
    page.locator(ERRORS).nth(1).wait_for()
    warned, failed = page.locator(ERRORS).all_text_contents()
    assert warned.strip() == "oh"
    assert "ZeroDivisionError" in failed
    page.close()
