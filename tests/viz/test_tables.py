from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from minires.errors import UsageError
from minires.table import format_table, html_table
from minires.viz import summary_rows

Results = dict[str, Any]


class Cells(HTMLParser):
    """The cells of a table, row by row, and the attributes of its headers."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.scopes: list[str | None] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True
        if tag == "th":
            self.scopes.append(dict(attrs).get("scope"))

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def parse(html: str) -> Cells:
    cells = Cells()
    cells.feed(html)
    cells.close()
    return cells


def test_text_tables_align_words_to_the_left_and_numbers_to_the_right() -> None:
    text = format_table(["name", "n", "value"], [["a", 5, 1.25], ["longer", 110, None]])
    assert text.splitlines() == [
        "name      n  value",
        "------  ---  -----",
        "a         5   1.25",
        "longer  110      -",
    ]


def test_text_tables_of_no_rows_have_their_header() -> None:
    assert format_table(["a", "bb"], []).splitlines() == ["a  bb", "-  --"]


def test_a_row_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(UsageError, match="row 0 has 1 cells and there are 2 headers"):
        format_table(["a", "b"], [["only one"]])


def test_html_tables_have_a_caption_and_scoped_headers() -> None:
    html = html_table(["kind", "depth", "x"], [["plain", 20, 1.0]], caption="C", row_headers=2)
    cells = parse(html)
    assert "<caption>C</caption>" in html
    assert cells.rows == [["kind", "depth", "x"], ["plain", "20", "1"]]
    assert cells.scopes == ["col", "col", "col", "row", "row"]


def test_html_tables_escape_everything() -> None:
    html = html_table(["<i>"], [['"<script>&']], caption="<b>")
    assert "<i>" not in html
    assert "<script" not in html
    assert "<b>" not in html
    assert parse(html).rows == [["<i>"], ['"<script>&']]


def test_numbers_stand_to_the_right_in_html_too() -> None:
    html = html_table(["kind", "error"], [["plain", "61.30 ± 2.10"], ["residual", "diverged"]])
    assert '<th scope="col" class="number">error</th>' in html
    assert '<td class="number">61.30 ± 2.10</td>' in html
    assert '<th scope="row">plain</th>' in html


def test_summary_has_a_row_for_each_run_of_one_seed(results: Results) -> None:
    headers, rows = summary_rows(results["runs"])
    assert headers == [
        "kind",
        "depth",
        "parameters",
        "training loss",
        "training error (%)",
        "test error (%)",
        "seconds",
    ]
    assert [row[:2] for row in rows] == [
        ["plain", "20"],
        ["plain", "56"],
        ["residual", "20"],
        ["residual", "56"],
    ]
    run = results["runs"][0]
    assert rows[0][2:] == [
        f"{run['parameters']:,}",
        f"{run['train_loss']:.4f}",
        f"{run['train_error']:.2f}",
        f"{run['test_error']:.2f}",
        f"{run['seconds']:.1f}",
    ]


def test_summary_of_several_seeds_has_mean_and_sample_deviation(seeded: Results) -> None:
    headers, rows = summary_rows(seeded["runs"])
    assert len(rows) == 4
    errors = [r["train_error"] for r in seeded["runs"] if (r["kind"], r["depth"]) == ("plain", 56)]
    row = dict(zip(headers, rows[1], strict=True))
    assert row["seeds"] == "3"
    assert row["training error (%)"] == (
        f"{statistics.mean(errors):.2f} ± {statistics.stdev(errors):.2f}"
    )


def test_summary_says_which_runs_diverged_and_which_values_are_missing(seeded: Results) -> None:
    runs = seeded["runs"]
    plain = [run for run in runs if (run["kind"], run["depth"]) == ("plain", 20)]
    residual = [run for run in runs if (run["kind"], run["depth"]) == ("residual", 20)]
    plain[0]["train_loss"] = math.nan
    for run in residual:
        run["train_loss"] = math.inf
        run["test_error"] = None
    headers, rows = summary_rows(runs)
    table = {(row[0], row[1]): dict(zip(headers, row, strict=True)) for row in rows}
    two = [run["train_loss"] for run in plain[1:]]
    assert table["plain", "20"]["training loss"] == (
        f"{statistics.mean(two):.4f} ± {statistics.stdev(two):.4f} (2 of 3)"
    )
    assert table["residual", "20"]["training loss"] == "diverged"
    assert table["residual", "20"]["test error (%)"] == "-"


def test_summary_prints_as_a_table(build: Callable[..., Results]) -> None:
    runs = build(kinds=("plain", "preact"), depths=(20, 110), seeds=(0, 1))["runs"]
    lines = format_table(*summary_rows(runs)).splitlines()
    assert len(lines) == 6
    assert len({len(line) for line in lines}) == 1
