"""Tables of plain data, as text and as HTML; the one place that lays out columns."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from html import escape

from minires.errors import UsageError

__all__ = ["NOT_MEASURED", "Cell", "format_table", "html_table"]

NOT_MEASURED = "-"
_NUMBER = re.compile(r"[-+]?[\d.,]+(e[-+]?\d+)?%?( ± [\d.,]+)?( \(\d+ of \d+\))?|-|nan|diverged")

Cell = str | int | float | None


def format_table(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table in plain text: words to the left, numbers to the right, a rule under the header.

    >>> print(format_table(["kind", "depth"], [["plain", 20], ["residual", 110]]))
    kind      depth
    --------  -----
    plain        20
    residual    110
    """
    cells = _cells(headers, rows)
    right = _numeric_columns(len(headers), cells)
    widths = [max(map(len, column)) for column in zip(headers, *cells, strict=True)]
    lines = [headers, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if is_number else cell.ljust(width)
            for cell, width, is_number in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in lines
    )


def html_table(
    headers: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    *,
    caption: str = "",
    row_headers: int = 1,
) -> str:
    """The same table in HTML; the first ``row_headers`` cells of a row are its headers.

    >>> html_table(["name"], [["<b>"]], caption="A & B").splitlines()[1]
    '<caption>A &amp; B</caption>'
    """
    cells = _cells(headers, rows)
    right = _numeric_columns(len(headers), cells)
    marks = [' class="number"' if is_number else "" for is_number in right]
    lines = ["<table>"]
    if caption:
        lines.append(f"<caption>{escape(caption)}</caption>")
    head = "".join(
        f'<th scope="col"{mark}>{escape(header)}</th>'
        for header, mark in zip(headers, marks, strict=True)
    )
    lines += [f"<thead><tr>{head}</tr></thead>", "<tbody>"]
    for row in cells:
        line = ""
        for i, (cell, mark) in enumerate(zip(row, marks, strict=True)):
            if i < row_headers:
                line += f'<th scope="row"{mark}>{escape(cell)}</th>'
            else:
                line += f"<td{mark}>{escape(cell)}</td>"
        lines.append(f"<tr>{line}</tr>")
    return "\n".join([*lines, "</tbody>", "</table>"])


def _cells(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> list[list[str]]:
    for i, row in enumerate(rows):
        if len(row) != len(headers):
            raise UsageError(
                f"table: row {i} has {len(row)} cells and there are {len(headers)} headers. "
                "Give None where there is no value."
            )
    return [[_text(cell) for cell in row] for row in rows]


def _text(cell: Cell) -> str:
    if cell is None:
        return NOT_MEASURED
    if isinstance(cell, float):
        return f"{cell:.4g}" if math.isfinite(cell) else str(cell)
    return str(cell)


def _numeric_columns(count: int, cells: Sequence[Sequence[str]]) -> list[bool]:
    """A column of numbers has nothing else in it (and something)."""
    return [
        bool(cells) and all(_NUMBER.fullmatch(row[i]) is not None for row in cells)
        for i in range(count)
    ]
