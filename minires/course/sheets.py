"""Tables in CSV files: those that a teacher writes, and those that a spreadsheet opens."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from minires.errors import UsageError
from minires.files import read_at_most

__all__ = ["Row", "points_text", "read_sheet", "write_sheet"]

_LARGEST = 16 << 20
# What a spreadsheet would compute: at the beginning, or where another separator begins a cell.
_FORMULA = re.compile(r"(^|[;\t\r\n|])(\s*)([=+\-@\uff1d\uff0b\uff0d\uff20])")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


class Row(dict[str, str]):
    """The cells of a line by their headers, and the number of the line."""

    line: int = 0


def read_sheet(path: Path, needed: Sequence[str], known: Sequence[str]) -> list[Row]:
    """The rows of a CSV file whose first line names its columns, in any order.

    Commas, semicolons and tabs separate cells; a byte order mark and other columns do not matter.
    Cells that are not there are ''.  Raises UsageError, with the line, for what makes no sense.
    """
    text = _text(path)
    first = text.lstrip().partition("\n")[0]
    separator = max(",;\t", key=first.count)  # the comma, if there is one column
    rows: list[Row] = []
    headers: list[str] | None = None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells):
                continue
            if headers is None:
                headers = [cell.lower() for cell in cells]
                _check(headers, needed, known, path)
                continue
            if any(cells[len(headers) :]):
                raise UsageError(
                    f"{str(path)!r}, line {reader.line_num}: {len(cells)} cells, and there are "
                    f"{len(headers)} columns; a cell with a separator in it needs quotes."
                )
            row = Row(dict.fromkeys(known, ""))
            row |= {n: c for n, c in zip(headers, cells, strict=False) if n in known}
            row.line = reader.line_num
            rows.append(row)
    except csv.Error as error:
        raise UsageError(f"{str(path)!r}, line {reader.line_num}: {error}.") from None
    if headers is None:
        names = ", ".join(needed)
        raise UsageError(f"{str(path)!r} is empty; its first line names the columns: {names}.")
    return rows


def write_sheet(rows: Sequence[Sequence[str]], *, mark: bool = False) -> bytes:
    r"""Rows as a CSV file in UTF-8, in which no text is taken for a formula.

    Args:
        rows: the headers, and the others.
        mark: begin with a byte order mark, without which Excel misreads letters beyond ASCII.

    >>> write_sheet([["name", "points"], ["=1+1", "2.5"], ["+49", "-1"]])
    b'"name","points"\n"\'=1+1","2.5"\n"\'+49","-1"\n'
    """
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([[_harmless(cell) for cell in row] for row in rows])
    return text.getvalue().encode("utf-8-sig" if mark else "utf-8", "replace")


def points_text(points: float) -> str:
    """Points as one writes them.

    >>> points_text(3.0), points_text(2.5)
    ('3', '2.5')
    """
    return f"{points:.10g}"


def _harmless(cell: str) -> str:
    return cell if _NUMBER.fullmatch(cell) else _FORMULA.sub(r"\1\2'\3", cell)


def _text(path: Path) -> str:
    try:
        return read_at_most(path, _LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{str(path)!r} is not in UTF-8; save it as 'CSV UTF-8'.") from None


def _check(headers: Sequence[str], needed: Sequence[str], known: Sequence[str], path: Path) -> None:
    for name in needed:
        if name not in headers:
            raise UsageError(
                f"{str(path)!r} has no column {name!r}; its first line has {', '.join(headers)}, "
                f"and must name {', '.join(needed)}."
            )
    for name in known:
        if headers.count(name) > 1:
            raise UsageError(f"{str(path)!r} has two columns {name!r}.")
