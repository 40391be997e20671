"""The page of the flow in a real browser, opened from the file system."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from minires.viz.flowpage import flow_page
from tests.viz.flow_results import make_results

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

PAGE_WIDER_THAN_WINDOW = "document.documentElement.scrollWidth - window.innerWidth"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The page of a small and of a large network."""
    folder = tmp_path_factory.mktemp("pages")
    paths = {}
    for depth in (20, 110):
        paths[depth] = folder / f"flow-{depth}.html"
        paths[depth].write_text(flow_page(make_results(depth)), encoding="utf-8")
    return paths


@pytest.fixture
def page(browser: Browser, files: dict[int, Path]) -> Iterator[Page]:
    """The page of the small network, opened; any word in the console fails the test."""
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    complaints = listen(page)
    page.goto(files[20].as_uri())
    yield page
    page.close()
    assert complaints == []


def listen(page: Page) -> list[str]:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return complaints


def choose(page: Page, moment: str) -> None:
    page.get_by_role("radio", name=moment).check()


def readout(page: Page) -> dict[str, list[str]]:
    rows = page.locator("#readout tbody tr").all()
    cells = [row.locator("th, td").all_inner_texts() for row in rows]
    return {name: values for name, *values in cells}


def lit(page: Page) -> list[str]:
    """The numbers of the blocks that are highlighted in the drawings that can be seen."""
    return page.locator(".drawing:visible .spot.current text").all_text_contents()


def widths(page: Page, view: str) -> list[float]:
    found = page.locator(f'.drawing[data-view="{view}"] .edge').all()
    return [float(edge.get_attribute("stroke-width") or "nan") for edge in found]


def entry(network: int, moment: str, block: int) -> dict[str, Any]:
    moments = make_results()["networks"][network]["moments"]
    found: dict[str, Any] = moments[moment]["ledger"]["blocks"][block]
    return found


@pytest.mark.parametrize(
    ("scheme", "width", "depth"),
    [("light", 1200, 20), ("dark", 375, 20), ("dark", 1200, 110), ("light", 375, 110)],
)
def test_the_page_opens_whole_and_quiet(
    browser: Browser, files: dict[int, Path], scheme: Any, width: int, depth: int
) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    try:
        complaints = listen(page)
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(files[depth].as_uri())
        page.wait_for_load_state("networkidle")
        page.locator("#back").click()

        assert complaints == []
        assert requests
        assert all(url.startswith(("file:", "data:")) for url in requests)
        assert page.evaluate(PAGE_WIDER_THAN_WINDOW) <= 0
        assert page.locator(".drawing:visible").count() == 1
        assert page.locator(".bench").first.is_visible()
        box = page.locator(".drawing:visible .card").bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
    finally:
        page.close()


def test_the_slider_changes_the_numbers_and_lights_up_the_block(page: Page) -> None:
    assert lit(page) == ["9"]
    last = readout(page)
    assert last["gradient at the input"] == ["0.04", "0.04"]
    assert last["back over the skip"] == ["-", "0.028"]
    assert last["share of the skip"] == ["-", "58.3%"]

    page.locator("#block").fill("1")
    assert lit(page) == ["1"]
    first = readout(page)
    for n in (0, 1):
        norm = entry(n, "initial", 0)["grad_norm"]
        assert float(first["gradient at the input"][n]) == pytest.approx(norm, rel=1e-3)
    growth = first["growth since the last block"][0]
    assert float(growth[1:]) == pytest.approx(1.3**8, rel=1e-3)
    said = page.locator("#said")
    assert said.get_attribute("aria-live") == "polite"
    assert said.inner_text().startswith("Block 1 of 9: layer1.0. plain-20: 0.326")
    assert page.locator("#block").get_attribute("aria-valuetext") == "block 1 of 9: layer1.0"


def test_the_keyboard_alone_walks_back_switches_and_presses(page: Page) -> None:
    page.locator("#block").focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert lit(page) == ["7"]
    page.keyboard.press("ArrowRight")
    assert lit(page) == ["8"]
    page.keyboard.press("Home")
    assert lit(page) == ["1"]
    assert page.locator("#back").is_disabled()
    page.keyboard.press("End")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert lit(page) == ["8"]
    page.locator("input[name=view]").first.focus()
    page.keyboard.press("ArrowRight")
    assert page.locator('.drawing[data-view="trained"]').is_visible()
    assert outline == "solid"


def test_the_switch_of_the_moment_changes_numbers_and_drawing(page: Page) -> None:
    page.locator("#block").fill("3")
    before = readout(page)["gradient at the input"]
    choose(page, "After training")
    after = readout(page)["gradient at the input"]
    norm = entry(0, "trained", 2)["grad_norm"]
    assert float(after[0]) == pytest.approx(norm, rel=1e-3)
    assert before != after
    assert page.locator(".drawing:visible h3").all_inner_texts() == ["After training"]
    assert lit(page) == ["3"]
    assert not page.locator("#step").is_visible()


def test_the_slider_of_steps_redraws_with_the_widths_that_python_gives(page: Page) -> None:
    choose(page, "During training")
    assert page.locator("#step").is_visible()
    # Step 0 of the recording was made as the state at initialisation is, for the plain network.
    plain = len(page.locator('.drawing[data-view="initial"] .edge[data-network="0"]').all())
    assert widths(page, "training")[:plain] == pytest.approx(
        widths(page, "initial")[:plain], abs=0.01
    )
    drawn = widths(page, "training")
    page.locator("#step").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#step-text").inner_text() == "10 (2 of 3 recorded)"
    assert page.locator(".drawing:visible h3").inner_text() == "During training, step 10"
    assert readout(page)["loss of the batch"] == ["1.15", "1.15"]
    page.locator("#block").fill("1")
    recorded = make_results()["networks"][0]["recording"]["blocks"]["grad_norm"][1][0]
    shown = float(readout(page)["gradient at the input"][0])
    assert shown == pytest.approx(recorded, rel=1e-3)
    now = widths(page, "training")
    # Step 10 grows by 1.2 a block where step 0 grows by 1.3: all but the last block are thinner.
    assert now[0] < drawn[0]
    page.locator("#step").fill("0")
    assert widths(page, "training") == drawn


def test_walking_back_plays_block_by_block_and_pauses(
    browser: Browser, files: dict[int, Path]
) -> None:
    page = browser.new_page(reduced_motion="reduce")
    try:
        page.clock.install()
        page.goto(files[20].as_uri())
        walk = page.locator("#walk")
        walk.click()
        assert walk.inner_text() == "Pause"
        assert page.locator("#said").get_attribute("aria-live") == "off"
        page.clock.run_for(1300)
        assert lit(page) == ["7"]
        walk.click()
        page.clock.run_for(5000)
        assert lit(page) == ["7"]
        assert walk.inner_text() == "Walk back"
        walk.click()
        page.clock.run_for(60_000)
        assert lit(page) == ["1"]
        assert walk.inner_text() == "Walk back"
        assert page.locator("#said").get_attribute("aria-live") == "polite"
        choose(page, "During training")
        page.locator("#train").click()
        page.clock.run_for(60_000)
        assert page.locator("#step-text").inner_text() == "20 (3 of 3 recorded)"
    finally:
        page.close()


def test_a_click_on_a_block_chooses_it(page: Page) -> None:
    page.locator('.drawing:visible .spot[data-block="4"] text').click()
    assert lit(page) == ["5"]
    assert page.locator("#block").input_value() == "5"


def test_a_narrow_drawing_scrolls_in_its_own_box_to_the_block(
    browser: Browser, files: dict[int, Path]
) -> None:
    page = browser.new_page(viewport={"width": 375, "height": 800}, reduced_motion="reduce")
    try:
        page.goto(files[110].as_uri())
        page.locator("#block").fill("40")
        page.locator("#block").fill("17")
        inside = page.evaluate(
            """() => {
              const spot = document.querySelector(".drawing:not([hidden]) .spot.current rect");
              const [a, b] = [spot, spot.closest(".card")].map((x) => x.getBoundingClientRect());
              return a.left >= b.left && a.right <= b.right;
            }"""
        )
        assert inside
        assert page.evaluate(PAGE_WIDER_THAN_WINDOW) <= 0
    finally:
        page.close()


@pytest.mark.parametrize(("width", "depth"), [(1200, 20), (375, 110)])
def test_the_text_of_the_drawing_is_large_enough_and_nothing_overlaps(
    browser: Browser, files: dict[int, Path], width: int, depth: int
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 800})
    try:
        page.goto(files[depth].as_uri())
        sizes, clashes = page.evaluate(
            """() => {
              const svg = document.querySelector(".drawing:not([hidden]) svg");
              const zoom = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
              const texts = [...svg.querySelectorAll("text")];
              const sizes = texts.map((t) => zoom * parseFloat(getComputedStyle(t).fontSize));
              const boxes = texts.map((t) => [t.textContent, t.getBoundingClientRect()]);
              const frame = svg.getBoundingClientRect();
              const clashes = [];
              boxes.forEach(([name, a], i) => {
                if (a.left < frame.left || a.right > frame.right || a.bottom > frame.bottom) {
                  clashes.push(name);
                }
                for (const [other, b] of boxes.slice(0, i)) {
                  const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                  const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                  if (across > 0 && down > 2) clashes.push(`${name} / ${other}`);
                }
              });
              return [sizes, clashes];
            }"""
        )
        assert len(sizes) > 30
        assert min(sizes) >= 10
        assert clashes == []
    finally:
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(
    browser: Browser, files: dict[int, Path], scheme: Any
) -> None:
    page = browser.new_page(color_scheme=scheme)
    try:
        page.goto(files[20].as_uri())
        names = (
            "ink",
            "muted",
            "accent",
            "paper",
            "soft",
            "panel",
            "spot",
            "trunk",
            "skip",
            "branch",
        )
        script = "(n) => getComputedStyle(document.documentElement).getPropertyValue('--' + n)"
        colors = {name: str(page.evaluate(script, name)).strip() for name in names}
        for text in ("ink", "muted", "accent"):
            for behind in ("paper", "soft", "panel", "spot"):
                assert contrast(colors[text], colors[behind]) >= 4.5, (text, behind)
        for line in ("trunk", "skip", "branch"):
            assert contrast(colors[line], colors["panel"]) >= 3, line
    finally:
        page.close()


def contrast(one: str, other: str) -> float:
    """The ratio of two colours by WCAG 2."""

    def luminance(color: str) -> float:
        parts = re.fullmatch(r"#(..)(..)(..)", color.lower() if len(color) == 7 else widen(color))
        assert parts is not None, color
        channels = [int(part, 16) / 255 for part in parts.groups()]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def widen(color: str) -> str:
    """#abc as #aabbcc."""
    return "#" + "".join(2 * digit for digit in color.lower()[1:])


def test_without_script_the_pictures_and_all_numbers_are_there(
    browser: Browser, files: dict[int, Path]
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    try:
        page.goto(files[20].as_uri())
        for view in ("initial", "trained"):
            picture = page.locator(f'.drawing[data-view="{view}"] svg')
            assert picture.is_visible()
            assert picture.locator(".edge").count() == 9 * 2 + 9 * 3
        assert not page.locator('.drawing[data-view="training"]').is_visible()
        assert not page.locator(".bench").first.is_visible()
        assert page.locator("noscript p").is_visible()
        page.get_by_text("Numbers of every block, after training").click()
        table = page.get_by_role("table", name="residual-20, after training", exact=True)
        assert table.is_visible()
        assert table.locator("tbody tr").count() == 9
    finally:
        context.close()


def test_on_paper_the_controls_are_gone_and_pictures_and_tables_are_whole(page: Page) -> None:
    page.locator("#block").fill("4")
    choose(page, "During training")
    page.emulate_media(media="print")
    assert not page.locator(".bench").first.is_visible()
    for view in ("initial", "trained"):
        assert page.locator(f'.drawing[data-view="{view}"] svg').is_visible()
    tables = page.locator("#microscope details table")
    assert tables.count() == 4
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    for i in range(4):
        assert tables.nth(i).is_visible()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details[open]").count() == 0
