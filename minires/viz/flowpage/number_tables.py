"""Tables of numbers from plain data whose form is not known beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from minires.table import Cell, html_table

__all__ = ["details", "numbers_tables"]

_MOST_ROWS = 500
_MOST_COLUMNS = 40


def numbers_tables(data: Mapping[str, Any], title: str) -> str:
    """The numbers of one result as tables: single values, columns of one length, lists of rows.

    What is no table (lists within lists, or too much for a page) is named in a remark.

    >>> html = numbers_tables({"loss": 2.3, "blocks": [{"name": "0", "norm": 1.5}]}, "ledger")
    >>> html.count("<table>"), "<td class=\\"number\\">1.5</td>" in html
    (2, True)
    """
    single: list[list[Cell]] = []
    tables: list[str] = []
    left_out: list[str] = []
    columns = {}
    for key, value in data.items():
        if _is_cell(value):
            single.append([_words(key), _cell(value)])
        elif _is_short(value):
            single.append([_words(key), ", ".join(str(_cell(item)) for item in value)])
        elif _is_column(value):
            columns[key] = value
        elif not value:
            continue
        elif isinstance(value, list | tuple) and all(isinstance(row, Mapping) for row in value):
            tables += _of_rows(value, f"{title}: {_words(key)}", left_out)
        elif isinstance(value, Mapping):
            tables.append(numbers_tables(value, f"{title}: {_words(key)}"))
        else:
            left_out.append(_words(key))
    tables = [*_of_columns(columns, title, left_out), *tables]
    if single:
        tables.insert(0, _scrolling(html_table(["", "value"], single, caption=title), title))
    if left_out:
        names = escape(", ".join(dict.fromkeys(left_out)))
        tables.append(
            f'<p class="remark">In the file of results only ({escape(title)}): {names}.</p>'
        )
    return "\n".join(tables)


def details(summary: str, tables: str) -> str:
    """Tables that open on demand."""
    return f"<details><summary>{escape(summary)}</summary>\n{tables}\n</details>"


def _of_rows(rows: Sequence[Mapping[str, Any]], title: str, left_out: list[str]) -> list[str]:
    """A row for each mapping, a column for each of their keys that holds single values."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    flat = [key for key in keys if all(_is_cell(row.get(key)) for row in rows)]
    # A column in which nothing was measured says nothing.
    flat = [key for key in flat if any(row.get(key) is not None for row in rows)]
    left_out += [_words(key) for key in keys if any(not _is_cell(row.get(key)) for row in rows)]
    return _of_columns({key: [row.get(key) for row in rows] for key in flat}, title, left_out)


def _of_columns(columns: Mapping[str, Sequence[Any]], title: str, left_out: list[str]) -> list[str]:
    """Columns of the same length stand in one table."""
    tables = []
    for length in dict.fromkeys(map(len, columns.values())):
        names = [key for key, column in columns.items() if len(column) == length]
        if all(isinstance(value, str) for key in names for value in columns[key]):
            continue  # names without a number beside them
        if length > _MOST_ROWS or len(names) > _MOST_COLUMNS:
            left_out += map(_words, names)
            continue
        names.sort(key=lambda key: key not in ("name", "block", "step", "steps"))
        rows = [[_cell(columns[key][i]) for key in names] for i in range(length)]
        table = html_table([_words(key) for key in names], rows, caption=title)
        tables.append(_scrolling(table, title))
    return tables


def _scrolling(table: str, label: str) -> str:
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{escape(label)}">{table}</div>'
    )


def _is_cell(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _is_column(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_cell, value))


def _is_short(value: Any) -> bool:
    """A few words, such as the names of the instruments that ran."""
    return _is_column(value) and all(isinstance(item, str) for item in value) and len(value) <= 12


def _cell(value: Any) -> Cell:
    return str(value).lower() if isinstance(value, bool) else value


def _words(key: Any) -> str:
    return str(key).replace("_", " ")
