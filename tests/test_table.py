"""Tables of plain data: columns that line up, as text and as HTML."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from minires.errors import UsageError
from minires.table import NOT_MEASURED, format_table, html_table


class Page(HTMLParser):
    """The cells with their tags and attributes, row by row, and the caption."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[tuple[str, str, dict[str, Any]]]] = []
        self.caption: str | None = None
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append((tag, "", dict(attrs)))
        if tag == "caption":
            self.caption = ""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            tag, text, attrs = self.rows[-1][-1]
            self.rows[-1][-1] = tag, text + data, attrs
        elif self.open and self.open[-1] == "caption":
            self.caption = (self.caption or "") + data

    def texts(self) -> list[list[str]]:
        return [[text for _, text, _ in row] for row in self.rows]


def column(*cells: Any) -> list[str]:
    """The lines of a table of one column and a mark that shows how wide the column is."""
    lines = format_table(["name", "|"], [[cell, "|"] for cell in cells]).splitlines()
    return [line[: line.rindex("  ")] for line in lines[2:]]


def test_words_stand_to_the_left_and_numbers_to_the_right() -> None:
    text = format_table(["name", "n", "value"], [["a", 5, 1.25], ["longer", 1100, None]])
    assert text.splitlines() == [
        "name       n  value",
        "------  ----  -----",
        "a          5   1.25",
        "longer  1100      -",
    ]


def test_no_line_ends_in_blanks() -> None:
    text = format_table(["a", "word"], [[1, "x"], [2, "longer"]])
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (None, "-"),
        (True, "True"),
        (3, "3"),
        (1234567, "1234567"),
        (0.123456, "0.1235"),
        (123456.0, "1.235e+05"),
        (1e-9, "1e-09"),
        (2.0, "2"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
        (float("-inf"), "-inf"),
        ("0.10", "0.10"),
    ],
)
def test_cells_are_written_with_four_digits(cell: Any, text: str) -> None:
    assert format_table(["a"], [[cell]]).splitlines()[2].strip() == text
    assert Page(html_table(["a"], [[cell]])).texts()[1] == [text]


@pytest.mark.parametrize(
    "cell",
    [
        *(7, -0.5, None, float("nan"), "1,320", "+0.25", "-3e-05", "52.1%", "diverged"),
        *("1.20 ± 0.30", "0.1 ± 0.2 (2 of 3)", "0.31 (1 of 3)"),
    ],
)
def test_what_counts_as_a_number_is_set_to_the_right(cell: Any) -> None:
    lines = column(cell, 12345678901234567890)
    assert lines[0] == lines[0].strip().rjust(20)


@pytest.mark.parametrize("cell", ["word", "", "1 x 3", "3 apples", "v1.0", "12.5 MB"])
def test_anything_else_sets_the_column_to_the_left(cell: str) -> None:
    lines = column(cell, 12345678901234567890)
    assert lines[0] == cell.ljust(20)
    assert lines[1] == "12345678901234567890"


def test_without_rows_there_are_header_and_rule() -> None:
    assert format_table(["a", "name"], []) == "a  name\n-  ----"
    assert Page(html_table(["a", "name"], [])).texts() == [["a", "name"]]


def test_the_mark_for_not_measured_is_the_one_that_is_printed() -> None:
    assert format_table(["a"], [[None]]).endswith(NOT_MEASURED)


@pytest.mark.parametrize("row", [[1], [1, 2, 3], []])
@pytest.mark.parametrize("make", [format_table, html_table])
def test_a_row_of_another_length_is_told(make: Any, row: list[int]) -> None:
    message = f"row 1 has {len(row)} cells and there are 2 headers"
    with pytest.raises(UsageError, match=message) as caught:
        make(["a", "b"], [[1, 2], row])
    assert "Give None where there is no value" in str(caught.value)


def test_html_holds_the_same_cells() -> None:
    headers, rows = ["kind", "n"], [["plain", 1.0], ["residual", None]]
    page = Page(html_table(headers, rows))
    assert page.texts() == [headers, ["plain", "1"], ["residual", "-"]]
    assert page.caption is None


def test_html_marks_headers_of_columns_and_rows() -> None:
    page = Page(html_table(["kind", "depth", "n"], [["plain", 20, 1]], row_headers=2))
    head, row = page.rows
    assert [(tag, attrs.get("scope")) for tag, _, attrs in head] == [("th", "col")] * 3
    assert [(tag, attrs.get("scope")) for tag, _, attrs in row] == [
        ("th", "row"),
        ("th", "row"),
        ("td", None),
    ]


def test_html_marks_columns_of_numbers() -> None:
    page = Page(html_table(["kind", "n"], [["plain", 1], ["residual", None]]))
    for row in page.rows:
        assert [attrs.get("class") for _, _, attrs in row] == [None, "number"]


def test_html_escapes_what_is_given() -> None:
    text = html_table(["a<b"], [["<script>&"]], caption='"A" & <B>')
    assert "<script>" not in text
    page = Page(text)
    assert page.texts() == [["a<b"], ["<script>&"]]
    assert page.caption == '"A" & <B>'
