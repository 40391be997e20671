from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable
from html import escape, unescape
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from minires.viz import (
    compare_report,
    figure_svg,
    gradient_flow,
    report,
    summary_rows,
    training_curves,
)
from minires.viz.groups import group_runs
from minires.viz.words import describe_flow, findings

Results = dict[str, Any]
Build = Callable[..., Results]

VOID = {"meta", "link", "img", "br", "hr", "input", "source", "wbr"}


class Page(HTMLParser):
    """Refuses tags that are not closed in order; gathers ids, references and figures."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.captions: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert len(values) == len(attrs), f"an attribute of <{tag}> is given twice"
        self.tags.append((tag, values))
        if "id" in values:
            self.ids.append(str(values["id"]))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "figcaption":
            self.captions.append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "figcaption" in self.open:
            self.captions[-1] += data
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [values for name, values in self.tags if name == tag]


def alts(page: Page) -> list[str]:
    labels = [values.get("aria-label") or "" for values in page.all("svg")]
    return labels + [values.get("alt") or "" for values in page.all("img")]


def with_errors(build: Build, errors: dict[tuple[str, int], list[float]]) -> list[dict[str, Any]]:
    """Runs whose closing training errors are these, one for each seed."""
    runs = []
    for (kind, depth), values in errors.items():
        for seed, value in enumerate(values):
            run = build(depths=(depth,), kinds=(kind,), seeds=(seed,))["runs"][0]
            run.update(train_error=value, test_error=value + 2)
            runs.append(run)
    return runs


CASES: dict[str, dict[str, Any]] = {
    "default": {},
    "seeds": {"seeds": (0, 1, 2)},
    "one run": {"depths": (20,), "kinds": ("residual",)},
    "one epoch": {"epochs": 1},
    "three kinds": {"kinds": ("plain", "residual", "preact"), "depths": (20, 32, 56)},
}


@pytest.mark.parametrize("case", CASES)
def test_the_page_is_well_formed_and_needs_nothing_beside_it(case: str, build: Build) -> None:
    html = compare_report(build(**CASES[case]))
    page = Page(html)
    assert html.startswith("<!DOCTYPE html>")
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.ids) == len(set(page.ids))
    for reference in re.findall(r'(?:href="|url\()#([^")]+)', html):
        assert reference in page.ids
    assert set(re.findall(r'[^"\s(]*https?:[^"\s)]*', html)) == {"http://www.w3.org/2000/svg"}
    assert not {"script", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    assert page.all("link") == [{"rel": "icon", "href": "data:,"}]
    policy = next(m for m in page.all("meta") if "http-equiv" in m)
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert [m for m in page.all("meta") if m.get("name") == "viewport"]


def test_headings_are_in_order_and_the_regions_are_named(results: Results) -> None:
    page = Page(compare_report(results))
    headings = [tag for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert headings == ["h1", "h2", "h2", "h2", "h2", "h2"]
    for section in page.all("section"):
        assert section["aria-labelledby"] in page.ids
    assert {"header", "main", "footer"} <= {tag for tag, _ in page.tags}


@pytest.mark.parametrize("case", CASES)
def test_the_table_is_the_summary(case: str, build: Build) -> None:
    data = build(**CASES[case])
    html = compare_report(data)
    headers, rows = summary_rows(data["runs"])
    table = html[html.index("<table>") : html.index("</table>")]
    shown = [
        [unescape(cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", table)
    ]
    assert shown == [headers, *rows]


def test_alternative_texts_state_this_runs_numbers(results: Results) -> None:
    curves, flow = alts(Page(compare_report(results)))
    for run in results["runs"]:
        name = f"{run['kind']}-{run['depth']}"
        for key in ("train_error", "test_error"):
            first, last = run["history"][key][0], run["history"][key][-1]
            assert (
                f"{name} goes from {first:.1f}% after epoch 1 to {last:.1f}% after epoch 12"
                in curves
            )
        assert f"{name} has " in flow
    residual = next(r for r in results["runs"] if (r["kind"], r["depth"]) == ("residual", 56))
    shares = [residual["gradient_flow"][m]["skip_share"] for m in ("initial", "trained")]
    before, after = (sum(share) / len(share) for share in shares)
    assert f"residual-56 {before:.2f} at initialisation and {after:.2f} after training" in flow


def test_alternative_texts_change_with_the_numbers(results: Results) -> None:
    other = copy.deepcopy(results)
    other["runs"][0]["history"]["train_error"][-1] = 33.3
    assert "33.3%" not in alts(Page(compare_report(results)))[0]
    assert "33.3%" in alts(Page(compare_report(other)))[0]


@pytest.mark.parametrize("case", CASES)
def test_each_figure_has_two_sentences_on_how_to_read_it(case: str, build: Build) -> None:
    page = Page(compare_report(build(**CASES[case])))
    assert len(page.all("figure")) == len(page.captions) == 2
    for caption in page.captions:
        reading = caption.removeprefix("How to read it.").strip()
        assert len(re.findall(r"[.!?](?=\s|$)", reading)) == 2


def test_words_of_the_user_are_escaped(results: Results) -> None:
    evil = "<script>alert(1)</script>\"'&"
    results["config"]["data"] = evil
    results["environment"][evil] = evil
    for run in results["runs"]:
        run["kind"] = evil
    html = compare_report(results)
    page = Page(html)
    assert "<script" not in html
    assert escape(evil) in html
    assert evil in page.text


def test_degradation_is_stated_with_its_numbers(build: Build) -> None:
    runs = with_errors(build, {("plain", 20): [4.0], ("plain", 56): [61.5]})
    said = findings(group_runs(runs))
    assert said[0].startswith(
        "plain-56 ends with a training error of 61.5%, 57.5 points above plain-20 (4.0%)"
    )
    assert "degradation" in said[0]


def test_degradation_is_not_claimed_where_there_is_none(build: Build) -> None:
    for deep in (4.4, 1.0):
        runs = with_errors(build, {("plain", 20): [4.0], ("plain", 56): [deep]})
        (said,) = (text for text in findings(group_runs(runs)) if "training error" in text)
        assert "no degradation" in said
        assert "This is degradation" not in said


def test_overlapping_seeds_settle_nothing(build: Build) -> None:
    errors = {
        ("plain", 20): [4.0, 12.0],
        ("plain", 56): [11.0, 20.0],
        ("residual", 56): [10.0, 15.0],
    }
    said = findings(group_runs(with_errors(build, errors)))
    assert "7.5 points above plain-20 (8.0%)" in said[0]
    claims = [text for text in said if "points" in text]
    assert len(claims) == 2
    assert all("does not settle" in text for text in claims)
    assert not any("This is degradation" in text for text in said)


def test_separate_seeds_are_compared_by_their_means(build: Build) -> None:
    errors = {("plain", 56): [50.0, 60.0], ("residual", 56): [4.0, 6.0]}
    said = findings(group_runs(with_errors(build, errors)))
    assert any(
        "residual-56 ends 50.0 points below plain-56 in training error (5.0% against 55.0%) and "
        "50.0 points below it in test error" in text
        for text in said
    )


def test_a_residual_network_that_does_worse_is_reported_as_worse(build: Build) -> None:
    errors = {("plain", 20): [4.0], ("residual", 20): [9.0], ("residual", 56): [30.0]}
    said = " ".join(findings(group_runs(with_errors(build, errors))))
    assert "residual-20 ends 5.0 points above plain-20" in said
    assert "21.0 points above residual-20" in said
    assert "behind with skips, too" in said


def test_a_difference_in_test_error_is_claimed_by_the_same_rule(build: Build) -> None:
    runs = with_errors(build, {("plain", 20): [30.0, 34.0], ("residual", 20): [4.0, 6.0]})

    def said(*test_errors: float) -> str:
        for run, error in zip(runs, test_errors, strict=True):
            run["test_error"] = error
        return next(text for text in findings(group_runs(runs)) if "At depth 20" in text)

    assert "and 20.0 points below it in test error." in said(30.0, 32.0, 10.0, 12.0)
    assert "and 20.0 points above it in test error." in said(10.0, 12.0, 30.0, 32.0)
    assert "in test error less than a point is between them." in said(30.0, 32.0, 30.1, 32.1)
    assert "in test error the ranges of their seeds overlap." in said(30.0, 40.0, 20.0, 35.0)


def test_the_change_of_the_gradient_is_computed(results: Results) -> None:
    for run in results["runs"]:
        rms = run["gradient_flow"]["initial"]["grad_rms"]
        rms[0], rms[-1] = (0.3, 0.01) if run["kind"] == "plain" else (0.01, 0.05)
    said = " ".join(findings(group_runs(results["runs"])))
    assert "root-mean-square grows 30-fold in plain-56" in said
    assert "falls to one part in 5.0 in residual-56" in said


def test_divergence_is_named_and_nothing_is_claimed_from_it(results: Results) -> None:
    for run in results["runs"]:
        if (run["kind"], run["depth"]) == ("plain", 56):
            run["train_loss"] = run["train_error"] = run["test_error"] = math.nan
    html = compare_report(results)
    Page(html)
    said = findings(group_runs(results["runs"]))
    assert said[0] == "The loss stopped being a finite number in plain-56: training diverged."
    assert not any("This is degradation" in text or "nan" in text for text in said)
    assert ">diverged</td>" in html


def test_one_seed_and_several_say_how_far_the_findings_carry(
    results: Results, seeded: Results
) -> None:
    assert "for one seed each" in compare_report(results)
    assert "means over the seeds" in compare_report(seeded)


def test_the_command_repeats_the_run(seeded: Results) -> None:
    text = Page(compare_report(seeded)).text
    command = (
        "minires compare --data digits --depths 20 56 --kinds plain residual --width 8 "
        "--shortcut A --epochs 12 --batch-size 64 --lr 0.1 --momentum 0.9 --weight-decay 0.0001 "
        "--seeds 0 1 2"
    )
    assert command in text
    seeded["config"]["data"] = "my data.npz"
    assert "--data 'my data.npz'" in Page(compare_report(seeded)).text


def test_what_scrolls_on_a_narrow_screen_says_so(results: Results) -> None:
    page = compare_report(results)
    assert page.count('<div class="wide"><div class="scroll"') == 1
    assert "Scroll sideways to see the whole table." in page
    assert "Scroll sideways to see the whole figure." in page


def test_configuration_and_environment_are_there_to_unfold(results: Results) -> None:
    page = Page(compare_report(results))
    assert len(page.all("details")) == 2
    assert "3.12.1" in page.text
    assert "batch size" in page.text


def test_an_interrupted_comparison_says_what_is_missing(results: Results) -> None:
    assert "interrupted" not in Page(compare_report(results)).text
    results["interrupted"] = True
    results["runs"] = results["runs"][:3]
    assert "shows the 3 of 4 trainings that were finished" in compare_report(results)


def test_a_comparison_without_a_finished_run_is_a_page_all_the_same(results: Results) -> None:
    results.update(runs=[], interrupted=True)
    page = Page(compare_report(results))
    assert "No network was finished" in page.text
    assert not page.all("figure")


def test_the_same_results_give_the_same_page(results: Results) -> None:
    assert compare_report(results) == compare_report(copy.deepcopy(results))


def test_light_dark_and_print_are_styled(results: Results) -> None:
    html = compare_report(results)
    assert "@media (prefers-color-scheme: dark)" in html
    assert "@media print" in html


def test_a_figure_too_large_for_svg_becomes_a_picture(
    results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "_LARGEST_SVG", 10)
    page = Page(compare_report(results))
    assert not page.all("svg")
    assert [str(image["src"])[:22] for image in page.all("img")] == ["data:image/png;base64,"] * 2
    assert all(len(alt) > 100 for alt in alts(page))


def test_svg_is_well_formed_and_its_ids_and_rules_stay_inside_it(seeded: Results) -> None:
    for draw in (training_curves, gradient_flow):
        svg = figure_svg(draw(seeded["runs"]), "p")
        ids = [element.get("id") for element in ElementTree.fromstring(svg).iter()]
        named = [name for name in ids if name is not None]
        assert len(named) == len(set(named))
        assert all(name == "p" or name.startswith("p-") for name in named)
        for reference in re.findall(r'(?:href="|url\()#([^")]+)', svg):
            assert reference in named
        assert not re.search(r"(?<!#p )\*\s*\{", svg)
        assert "metadata" not in svg


def test_a_flow_that_was_not_measured_is_said_to_be_missing(results: Results) -> None:
    for run in results["runs"]:
        run["gradient_flow"]["trained"] = None
    assert "After training: plain-20 has no finite value" in describe_flow(
        group_runs(results["runs"])
    )
    Page(compare_report(results))
