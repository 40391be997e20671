"""CSV files: what is understood, and that none holds a formula."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from minires.course.sheets import read_sheet, write_sheet
from minires.errors import UsageError


def sheet(folder: Path, content: str | bytes) -> Path:
    path = folder / "sheet.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "folder,name\nanna,Anna B\n",
        "\ufeffName;Folder\r\nAnna B;anna\r\n",
        "folder\tother\tNAME\nanna\t1\tAnna B\n\n",
        'folder,name\n"anna","Anna B"',
        " folder , name \n anna , Anna B \n,,\n",
    ],
)
def test_separators_marks_order_and_other_columns_do_not_matter(
    tmp_path: Path, content: str
) -> None:
    [row] = read_sheet(sheet(tmp_path, content), ["folder", "name"], ["folder", "name", "email"])
    assert row == {"folder": "anna", "name": "Anna B", "email": ""}
    assert row.line == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("name\nx\n", "no column 'folder'; its first line has name"),
        ("folder,name,folder\n", "two columns 'folder'"),
        ("folder,name\na,b,c\n", "line 2: 3 cells, and there are 2 columns"),
        ('folder,name\n"a,b\n', "line 2: unexpected end"),
        ("folder,name\n\xe4".encode("latin-1"), "not in UTF-8"),
        (b"folder,name\n\xff\xfe", "not in UTF-8"),
    ],
)
def test_what_cannot_be_understood_is_named_with_its_line(
    tmp_path: Path, content: str | bytes, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_sheet(sheet(tmp_path, content), ["folder", "name"], ["folder", "name"])


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no file"):
        read_sheet(tmp_path, [], [])
    with pytest.raises(UsageError, match="does not exist"):
        read_sheet(tmp_path / "absent", [], [])


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        " =1",
        "\t=1",
        "a;=1",
        "a\n=1",
        "\uff1d1",
        "=",
        "-",
        "'=1",
    ],
)
def test_no_cell_is_a_formula_in_any_reading(text: str) -> None:
    content = write_sheet([["head"], [text]]).decode()
    cells = [cell for row in csv.reader(io.StringIO(content)) for cell in row]
    for separator in ",;\t":
        cells += [part for line in content.split("\n") for part in line.split(separator)]
    for cell in cells:
        assert cell.strip(' "\t\r\n')[:1] not in tuple("=+-@\uff1d\uff0b\uff0d\uff20")


@pytest.mark.parametrize("text", ["2.5", "-1", "anna-b", "a=b", "O'Hara", "x, y", 'say "a"'])
def test_everything_else_is_left_as_it_is(text: str) -> None:
    content = write_sheet([["head"], [text]]).decode()
    assert list(csv.reader(io.StringIO(content)))[1] == [text]


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    rows = [["name", "note"], ["Zo\u00eb, \u4e2d", "two\nlines; and \u201cmore\u201d"]]
    [row] = read_sheet(sheet(tmp_path, write_sheet(rows, mark=True)), ["name"], ["name", "note"])
    assert list(row.values()) == rows[1]
