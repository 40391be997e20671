from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from html import escape, unescape
from importlib import resources
from typing import Any

import numpy as np
import pytest

from minires import viz
from minires.viz.flowpage import flow_page
from minires.viz.flowpage.drawing import network_drawing
from minires.viz.flowpage.instruments import INSTRUMENTS
from minires.viz.flowpage.views import Scale, make_scale, make_views, sentences
from minires.viz.page import PAGE
from tests.viz.flow_results import Results, make_results
from tests.viz.test_report import Page

TIMES = "\N{MULTIPLICATION SIGN}"


def embedded(html: str) -> Any:
    """The data of the script, read as strictly as a browser does."""
    (text,) = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def drawing(results: Results, view: str = "initial") -> str:
    """The SVG of one view."""
    networks = results["networks"]
    views = make_views(networks)
    (chosen,) = (one for one in views if one.key == view)
    return network_drawing(networks, chosen, make_scale(views))


def edges(svg: str) -> list[dict[str, str]]:
    tags = re.findall(r'<path class="edge [^>]*>', svg)
    return [dict(re.findall(r'([\w-]+)="([^"]*)"', tag)) for tag in tags]


@pytest.fixture(scope="module")
def html() -> str:
    """The page of the results as they are by default."""
    return flow_page(make_results())


CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "small": {"depth": 8},
    "large": {"depth": 110},
    "one network": {"kinds": ("residual",)},
    "untrained": {"trained": False, "steps": 0},
    "recorded alone": {"trained": False},
}


@pytest.mark.parametrize("case", CASES)
def test_the_page_is_well_formed_and_needs_nothing_beside_it(case: str) -> None:
    html = flow_page(make_results(**CASES[case]))
    page = Page(html)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.ids) == len(set(page.ids))
    for attribute in ("for", "aria-labelledby"):
        for reference in re.findall(rf' {attribute}="([^"]+)"', html):
            assert reference in page.ids
    for link in page.all("a"):
        assert str(link["href"]).removeprefix("#") in page.ids
    assert set(re.findall(r'[^"\s(]*https?:[^"\s)]*', html)) == {"http://www.w3.org/2000/svg"}
    headings = [tag for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings[0] == "h1"
    assert headings[1] == "h2"
    for section in page.all("section"):
        assert section["aria-labelledby"] in page.ids


def test_the_policy_allows_the_one_script_by_its_hash_and_no_request(html: str) -> None:
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(m for m in Page(html).all("meta") if "http-equiv" in m)
    assert policy["content"] == (
        f"default-src 'none'; script-src 'sha256-{digest}'; img-src data:; "
        "style-src 'unsafe-inline'"
    )
    assert "default-src 'none'; img-src" in PAGE  # the other report stays without script


def test_script_and_style_are_files_of_the_package(html: str) -> None:
    folder = resources.files("minires.viz.flowpage")
    for name in ("flow.js", "flow.css"):
        text = folder.joinpath(name).read_text("utf-8")
        assert text
        assert text in html


def test_widths_follow_the_logarithm_of_the_norm_on_one_scale_for_everything() -> None:
    results = make_results()
    norms = [
        entry[key]
        for network in results["networks"]
        for moment in network["moments"].values()
        for entry in moment["ledger"]["blocks"]
        for key in ("grad_norm", "skip_norm", "branch_norm")
        if entry[key] is not None
    ]
    norms += [
        value
        for network in results["networks"]
        for key in ("grad_norm", "skip_norm", "branch_norm")
        for row in network["recording"]["blocks"][key]
        for value in row
        if value is not None
    ]
    ends = np.log10([min(norms), max(norms)])
    seen = 0
    for view in ("initial", "trained"):
        for edge in edges(drawing(results, view)):
            network = results["networks"][int(edge["data-network"])]
            entry = network["moments"][view]["ledger"]["blocks"][int(edge["data-block"])]
            norm = entry[edge["data-quantity"]]
            expected = np.interp(math.log10(norm), ends, [1.5, 12.0])
            assert float(edge["stroke-width"]) == pytest.approx(expected, abs=0.01)
            seen += 1
    assert seen == 2 * (9 * 2 + 9 * 3)


def test_a_scale_covers_a_decade_at_least_and_twelve_at_most() -> None:
    results = make_results(8, trained=False, steps=0)
    scale = make_scale(make_views(results["networks"]))
    assert scale.high - scale.low == pytest.approx(1)
    results["networks"][0]["moments"]["initial"]["ledger"]["blocks"][0]["grad_norm"] = 1e-30
    scale = make_scale(make_views(results["networks"]))
    assert scale.high - scale.low == pytest.approx(12)
    assert scale.width(1e-30) == scale.thin
    for low, high in ((-9.3, 2.2), (-0.2, 0.9), (-3.0, 0.0), (5.1, 6.2)):
        marks = Scale(low, high).marks()
        assert 2 <= len(marks) <= 7
        assert all(low <= math.log10(mark) <= high for mark in marks)


@pytest.mark.parametrize("depth", [8, 20, 56, 110])
def test_every_block_is_drawn_once_in_order_and_the_drawing_fits_the_page(depth: int) -> None:
    svg = drawing(make_results(depth, steps=0))
    count = (depth - 2) // 2
    spots = re.findall(r'<g class="spot" data-block="(\d+)"><rect x="(\d+)" y="(\d+)"', svg)
    assert [int(i) for i, _, _ in spots] == list(range(count))
    places = [(int(y), int(x)) for _, x, y in spots]
    assert places == sorted(places)
    per_row = [sum(1 for y, _ in places if y == row) for row in {y for y, _ in places}]
    assert max(per_row) <= 18
    assert len(per_row) == (3 if count > 18 else 1)
    width = int(re.search(r'role="img".*? width="(\d+)"', svg).group(1))  # type: ignore[union-attr]
    assert width <= 1000
    for n, quantities in enumerate((("branch_norm",), ("branch_norm", "skip_norm"))):
        for quantity in quantities:
            drawn = [
                int(e["data-block"])
                for e in edges(svg)
                if (e["data-network"], e["data-quantity"]) == (str(n), quantity)
            ]
            assert drawn == list(range(count))
    assert svg.count(">conv1</text>") == svg.count(">fc</text>") == 2
    assert svg.count(">pad</text>") == 2


def test_stages_of_few_blocks_share_a_row() -> None:
    results = make_results(110, trained=False, steps=0)
    for network in results["networks"]:
        for i, block in enumerate(network["blocks"]):
            block["shape"] = [i, 1, 1]  # as if every block changed the shape
    svg = drawing(results)
    assert len(set(re.findall(r'class="spot" data-block="\d+"><rect x="\d+" y="(\d+)"', svg))) == 9


def test_what_is_zero_or_missing_is_dotted_and_null_and_breaks_nothing() -> None:
    results = make_results()
    for value, i in ((math.nan, 0), (math.inf, 1), (None, 2), (0.0, 3)):
        for network in results["networks"]:
            network["moments"]["initial"]["ledger"]["blocks"][i]["branch_norm"] = value
            network["recording"]["blocks"]["branch_norm"][0][i] = value
    results["networks"][0]["moments"]["initial"]["ledger"]["loss"] = -math.inf
    results["networks"][1]["moments"]["initial"]["ledger"]["blocks"][4:] = []
    html = flow_page(results)
    dotted = {
        (e["data-network"], int(e["data-block"]))
        for e in edges(drawing(results))
        if e["data-quantity"] == "branch_norm" and "missing" in e["class"].split()
    }
    assert dotted == {("0", i) for i in range(4)} | {("1", i) for i in range(9)}
    plain, residual = embedded(html)["views"]["initial"][0]["networks"]
    assert plain["branch_norm"][:4] == [None, None, None, 0.0]
    assert plain["loss"] is None
    assert residual["grad_norm"][4:] == [None] * 5
    Page(html)


def test_the_script_gets_every_number_of_every_view(html: str) -> None:
    results, data = make_results(), embedded(html)
    assert list(data["views"]) == ["initial", "trained", "training"]
    assert [moment["step"] for moment in data["views"]["training"]] == [0, 10, 20]
    for n, network in enumerate(results["networks"]):
        for view in ("initial", "trained"):
            found = data["views"][view][0]["networks"][n]
            entries = network["moments"][view]["ledger"]["blocks"]
            norms = [entry["grad_norm"] for entry in entries]
            assert found["grad_norm"] == pytest.approx(norms, rel=1e-5)
            assert found["growth"][0] == pytest.approx(norms[0] / norms[1], rel=1e-5)
            assert found["growth"][-1] is None
            assert found["since_last"][0] == pytest.approx(norms[0] / norms[-1], rel=1e-5)
        for s, moment in enumerate(data["views"]["training"]):
            norms = network["recording"]["blocks"]["grad_norm"][s]
            assert moment["networks"][n]["grad_norm"] == pytest.approx(norms, rel=1e-5)


def test_numbers_are_matched_to_blocks_by_name_and_steps_by_number() -> None:
    results = make_results()
    plain, residual = results["networks"]
    expected = [e["grad_norm"] for e in plain["moments"]["initial"]["ledger"]["blocks"]]
    plain["moments"]["initial"]["ledger"]["blocks"].reverse()
    residual["recording"]["steps"] = [10, 20, 30]
    data = embedded(flow_page(results))["views"]
    assert data["initial"][0]["networks"][0]["grad_norm"] == pytest.approx(expected, rel=1e-5)
    assert [moment["step"] for moment in data["training"]] == [0, 10, 20, 30]
    assert data["training"][0]["networks"][1]["grad_norm"] == [None] * 9
    assert data["training"][3]["networks"][0]["loss"] is None


def test_tables_without_script_hold_every_block_of_both_moments(html: str) -> None:
    results = make_results()
    for network in results["networks"]:
        for moment, words in (("initial", "at initialisation"), ("trained", "after training")):
            caption = f"<caption>{network['name']}, {words}</caption>"
            table = html[html.index(caption) :].split("</table>")[0]
            for entry in network["moments"][moment]["ledger"]["blocks"]:
                row = table[table.index(f">{entry['name']}</th>") :].split("</tr>")[0]
                numbers = [float(n) for n in re.findall(r">(-?\d[\d.e+-]*)</td>", row)]
                for key in ("grad_norm", "grad_rms", "skip_norm", "branch_norm", "cosine"):
                    if entry[key] is not None:
                        assert any(n == pytest.approx(entry[key], rel=1e-3) for n in numbers)
                assert (">58.3%</td>" in row) == (entry["share"] is not None)
    # Nothing that needs the script is seen without it, and the tables are announced.
    assert '<div class="bench" hidden>' in html
    assert '<div class="drawing" data-view="training" hidden>' in html
    assert "<noscript>" in html


def test_sentences_hold_the_numbers_of_this_run(html: str) -> None:
    results, text = make_results(), unescape(html)
    grown = [1.3**8, 1.05**8]
    assert (
        "At initialisation, on its way back, the norm of the gradient goes from 0.040 at the last "
        f"block to {0.04 * grown[0]:.2f} at the first ({TIMES}{grown[0]:.1f}) in plain-20 and from "
        f"0.040 at the last block to {0.04 * grown[1]:.3f} at the first ({TIMES}{grown[1]:.1f}) in "
        "residual-20." in text
    )
    assert "in residual-20 the skip's share of the gradient at a fork is 58%." in text
    label = re.search(r'role="img" aria-label="([^"]+)"', drawing(results, "trained"))
    assert label is not None
    assert label.group(1).startswith("Drawing of plain-20 (9 blocks) and residual-20 (9 blocks)")
    assert "After training" in label.group(1)
    training = make_views(results["networks"])[2]
    assert sentences(training, results["networks"])[0].startswith("During training, at step 20,")
    assert "During training, at step" not in text  # it would repeat what holds after training


def test_without_a_ledger_the_network_is_drawn_and_nothing_is_claimed() -> None:
    results = make_results(trained=False, steps=0)
    for network in results["networks"]:
        network["moments"]["initial"] = {}
    html = flow_page(results)
    Page(html)
    assert all("missing" in edge["class"] for edge in edges(drawing(results, "structure")))
    assert "no ledger was made" in html
    for absent in ("flow-data", 'class="bench"', "<noscript>", "What this run shows", "Width:"):
        assert absent not in html.split("<script>")[0].split("</style>")[1]


@pytest.mark.parametrize("results", [{}, {"networks": []}, {"networks": [{"name": "a"}]}])
def test_almost_empty_results_still_make_a_page(results: Results) -> None:
    Page(flow_page(results))


def test_each_instrument_is_drawn_for_each_network_and_moment_with_its_reading() -> None:
    html = flow_page(make_results(8, steps=0))
    section = html[html.index('<h2 id="instrument-ledger"') :].split("</section>")[0]
    assert section.count("<svg ") == 4
    assert escape(INSTRUMENTS["ledger"].reading) in section
    assert section.count("How to read it.") == 1
    assert re.findall(r"<figcaption><strong>(.*?)</strong>", section) == [
        "plain-8, at initialisation.",
        "residual-8, at initialisation.",
        "plain-8, after training.",
        "residual-8, after training.",
    ]
    assert section.count("<details>") == 4
    assert ">grad norm</th>" in section
    labels = re.findall(r'<svg role="img" aria-label="([^"]+)"', section)
    assert all(label.startswith("Norm of the gradient at each block") for label in labels)


def test_an_instrument_that_cannot_be_drawn_says_so_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(data: Any) -> None:
        raise ValueError("norms <b>missing</b>")

    monkeypatch.setattr(viz, "spectrum_figure", broken, raising=False)
    results = make_results(8, steps=0)
    moment = results["networks"][0]["moments"]["initial"]
    moment["spectrum"] = {"block": "layer1.0", "lengths": [0, 1]}
    moment["landscape"] = None
    moment["gyroscope"] = {"speed": 3.25}
    html = flow_page(results)
    Page(html)
    text = unescape(html)
    assert "could not be drawn (ValueError: norms <b>missing</b>)" in text
    assert "<b>missing" not in html
    assert "This was not measured." in text
    assert "There is no figure for this instrument" in text
    assert ">3.25</td>" in html
    assert html.count("<figure>") == 4 + 3  # the ledgers are all there


def test_captions_failures_and_an_interruption_are_told() -> None:
    results = make_results(8, steps=0)
    assert "interrupted" not in flow_page(results).split("<script>")[0]
    results["interrupted"] = True
    results["networks"][0]["failed"] = ["plain-8, before training: dial: no <skip> to turn"]
    results["networks"][1]["moments"]["trained"]["ledger"]["caption"] = "3 blocks: a & b."
    html = flow_page(results)
    page = Page(html)
    assert "This run was interrupted" in page.text
    assert "<li>plain-8, before training: dial: no &lt;skip&gt; to turn</li>" in html
    assert "<strong>residual-8, after training.</strong> 3 blocks: a &amp; b.</figcaption>" in html
    assert "caption</th>" not in html


def test_a_figure_that_would_be_too_large_becomes_a_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("minires.viz.report._LARGEST_SVG", 10)
    html = flow_page(make_results(8, steps=0))
    pictures = Page(html).all("img")
    assert len(pictures) == 4
    for picture in pictures:
        assert str(picture["src"]).startswith("data:image/png;base64,")
        assert picture["alt"]


def test_words_of_the_user_are_escaped_everywhere() -> None:
    results = make_results(8)
    evil = "</script><script>alert(1)</script><!--\"'&{}"
    network = results["networks"][1]
    for block in network["blocks"]:
        block["name"] = evil
    network.update(name=evil, stem=evil, head=evil)
    results["config"][evil] = evil
    html = flow_page(results)
    page = Page(html)
    assert len(page.all("script")) == 2
    assert embedded(html)["networks"][1]["name"] == evil
    assert evil in page.text


def test_every_instrument_names_a_figure_and_two_sentences_on_how_to_read_it() -> None:
    for key, instrument in INSTRUMENTS.items():
        assert instrument.figure.endswith("_figure"), key
        assert instrument.heading
        assert len(re.findall(r"[.](?=\s|$)", instrument.reading)) >= 1, key
