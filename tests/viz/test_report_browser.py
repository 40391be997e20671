"""The report in a real browser, opened from the file system."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from minires.viz import compare_report, summary_rows

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser

Results = dict[str, Any]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 375])
def test_the_report_opens_whole_and_quiet(
    browser: Browser, build: Callable[..., Results], tmp_path: Path, scheme: Any, width: int
) -> None:
    results = build(kinds=("plain", "residual", "preact"), seeds=(0, 1))
    path = tmp_path / "report.html"
    path.write_text(compare_report(results), encoding="utf-8")
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    try:
        complaints: list[str] = []
        requests: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_load_state("networkidle")

        assert complaints == []
        assert requests
        assert all(url.startswith(("file:", "data:")) for url in requests)

        figures = page.locator("figure svg[role=img], figure img")
        assert figures.count() == 2
        for i in range(2):
            assert figures.nth(i).is_visible()
            box = figures.nth(i).bounding_box()
            assert box is not None
            assert box["width"] > 300
            assert box["height"] > 150

        headers, rows = summary_rows(results["runs"])
        table = page.locator("main table").first
        assert table.is_visible()
        shown = [
            [cell.strip() for cell in row.locator("th, td").all_inner_texts()]
            for row in table.locator("tr").all()
        ]
        assert shown == [headers, *rows]

        # Wide things scroll in their own box; the page itself never does.
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0
        assert page.locator("h1").inner_text().startswith("Plain, residual and pre-activation")
    finally:
        page.close()
