"""What a class handed in, taken apart student by student, whatever is among it."""

from __future__ import annotations

import io
import os
import random
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from minires.course.assignment import find_assignment
from minires.course.handed_in import (
    LARGEST_ZIP,
    Entry,
    HandedIn,
    entries_in,
    files_in,
    files_in_zip,
    visible,
)
from minires.course.submission import submission_of
from minires.errors import UsageError

MOODLE = "Jane Doe_123_assignsubmission_file_"


def zipped(files: Mapping[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def place(folder: Path, files: Mapping[str, bytes | str], as_zip: bool) -> Path:
    """A class's folder with these files, or a zip file of it."""
    if as_zip:
        path = folder / "class.zip"
        path.write_bytes(zipped(files))
        return path
    for name, content in files.items():
        path = folder / "class" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder / "class"


def read(entry: Entry) -> dict[str, bytes]:
    return {file.name: file.read(1000) for file in entry.files()}


@pytest.mark.parametrize("as_zip", [False, True], ids=["folder", "zip"])
def test_every_form_gives_its_student_and_files(tmp_path: Path, as_zip: bool) -> None:
    files = {
        "anna/deep/a03.py": "a",
        "ben.zip": zipped({"a03.py": "b"}),
        "carl.py": "c",
        "dora.ipynb": "{}",
        f"{MOODLE}/a03.py": "j",
        "Ed_9_assignsubmission_file_a03.py": "e",
        "foxf_LATE_77_881_a03-1.py": "f",
        "notes.txt": "",
        ".DS_Store": "",
        "__MACOSX/anna/a03.py": "",
        "gus.rar": "r",
    }
    entries, notices = entries_in(place(tmp_path, files, as_zip))
    found = {(e.student, e.name, e.number, e.system, e.late): read(e) for e in entries}
    assert found == {
        ("Ed_9", "Ed", "9", "moodle", False): {"a03.py": b"e"},
        ("Jane Doe_123", "Jane Doe", "123", "moodle", False): {"a03.py": b"j"},
        ("anna", "anna", "", "", False): {"deep/a03.py": b"a"},
        ("ben", "ben", "", "", False): {"a03.py": b"b"},
        ("carl", "carl", "", "", False): {"carl.py": b"c"},
        ("dora", "dora", "", "", False): {"dora.ipynb": b"{}"},
        ("foxf_77", "foxf", "77", "canvas", True): {"a03-1.py": b"f"},
        ("gus", "gus", "", "", False): {"gus.rar": b"r"},
    }
    assert len(notices) == 1
    assert "notes.txt" in notices[0]


@pytest.mark.parametrize("as_zip", [False, True], ids=["folder", "zip"])
def test_several_files_of_one_student_are_joined_and_that_is_said(
    tmp_path: Path, as_zip: bool
) -> None:
    files = {
        "anna/a03.py": "1",
        "anna.zip": zipped({"a03.py": "2"}),
        "doej_5_11_a03.py": "3",
        "doej_5_12_more.py": "4",
        f"{MOODLE}/a03.py": "5",
        "Jane Doe_123_assignsubmission_onlinetext_/onlinetext.html": "6",
    }
    entries, notices = entries_in(place(tmp_path, files, as_zip))
    assert [(entry.student, sorted(read(entry).values())) for entry in entries] == [
        ("Jane Doe_123", [b"5", b"6"]),
        ("anna", [b"1", b"2"]),
        ("doej_5", [b"3", b"4"]),
    ]
    assert sum("taken for one student's" in notice for notice in notices) == 2
    assert "anna, anna.zip are taken for one student's, anna." in notices


@pytest.mark.parametrize(
    ("names", "students"),
    [
        (["subs/anna/a03.py", "subs/ben.zip", "subs/x.txt"], ["anna", "ben"]),
        (["subs/anna.py", "subs/ben.py"], ["anna", "ben"]),
        (["subs/anna.py", "subs/ben.py", "__MACOSX/subs/._ben.py"], ["anna", "ben"]),
        (["anna/a03.py", "anna/help.py"], ["anna"]),
        (["anna/deep/a03.py"], ["anna"]),
        (["anna/a03.py", "ben/a03.py"], ["anna", "ben"]),
        ([f"{MOODLE}/a/x.py", f"{MOODLE}/b/y.py"], ["Jane Doe_123"]),
    ],
)
def test_a_folder_around_the_students_in_a_zip_is_no_student(
    tmp_path: Path, names: list[str], students: list[str]
) -> None:
    path = place(tmp_path, dict.fromkeys(names, ""), as_zip=True)
    entries, _ = entries_in(path, ("a03_convolution", "a03"))
    assert [entry.student for entry in entries] == students


def test_a_student_with_an_empty_folder_is_there(tmp_path: Path) -> None:
    (tmp_path / "class" / "anna").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "class.zip", "w") as archive:
        archive.mkdir("anna")
    for name in ("class", "class.zip"):
        [entry], _ = entries_in(tmp_path / name)
        assert (entry.student, entry.files()) == ("anna", [])


def test_links_pipes_and_devices_are_never_opened(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a03.py").write_text("secret")
    folder = place(tmp_path, {"anna/a03.py": "a"}, as_zip=False)
    (folder / "anna" / "b.py").symlink_to(tmp_path / "outside" / "a03.py")
    (folder / "anna" / "more").symlink_to(tmp_path / "outside")
    (folder / "ben").symlink_to(tmp_path / "outside")
    (folder / "carl.py").symlink_to(tmp_path / "outside" / "a03.py")
    (folder / "gone.py").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "dora.py")
    os.mkfifo(folder / "anna" / "pipe.py")
    entries, _ = entries_in(folder)
    found = {}
    for entry in entries:
        try:
            found[entry.student] = str(read(entry))
        except UsageError as error:
            found[entry.student] = str(error)
    assert found["anna"] == "{'a03.py': b'a'}"
    assert found["dora"] == "dora.py is no ordinary file."
    for name in ("ben", "carl", "gone"):
        assert "is a link, and links are not followed" in found[name]


def test_a_file_that_becomes_a_pipe_before_it_is_read_stops_nothing(tmp_path: Path) -> None:
    folder = place(tmp_path, {"anna/a03.py": "a"}, as_zip=False)
    [entry], _ = entries_in(folder)
    [file] = entry.files()
    (folder / "anna" / "a03.py").unlink()
    os.mkfifo(folder / "anna" / "a03.py")
    with pytest.raises(UsageError, match="no ordinary file"):
        file.read(10)


def test_names_that_lead_out_of_a_zip_are_only_names(tmp_path: Path) -> None:
    files = {"../../evil.py": "1", "/abs/a.py": "2", "a\\b.py": "3", "ok.py": "4"}
    entries, _ = entries_in(place(tmp_path, files, as_zip=True))
    assert [entry.student for entry in entries] == ["a", "abs", "ok"]
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["class.zip"]


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("a\nb", r"a\nb"),
        ("a\u202eb", r"a\u202eb"),
        (os.fsdecode(b"a\xffb"), r"a\udcffb"),
        ("Jose\u0301", "Jos\u00e9"),
        ("\u4e2d\u6587 \U0001f600", "\u4e2d\u6587 \U0001f600"),
    ],
)
def test_odd_names_become_visible_and_can_be_written(
    tmp_path: Path, name: str, student: str
) -> None:
    (tmp_path / "class" / name).mkdir(parents=True)
    [entry], _ = entries_in(tmp_path / "class")
    assert entry.student == visible(name) == student
    assert entry.student.encode("utf-8").decode() == student


def test_one_name_in_two_forms_of_unicode_is_one_student(tmp_path: Path) -> None:
    path = place(tmp_path, {"Jos\u00e9.py": "1", "Jose\u0301.py": "2"}, as_zip=True)
    [entry], [notice] = entries_in(path)
    assert entry.student == "Jos\u00e9"
    assert sorted(read(entry).values()) == [b"1", b"2"]
    assert "taken for one student's" in notice


def test_a_zip_file_beside_no_code_is_opened_and_none_within_it(tmp_path: Path) -> None:
    a03 = find_assignment("a03")
    inner = zipped({"mine/a03.py": "x = 1", "more.zip": zipped({"a03.py": "y = 2"})})
    files = {"anna/all.zip": inner, "ben/all.zip": zipped({"all.zip": inner})}
    for as_zip in (False, True):
        anna, ben = entries_in(place(tmp_path, files, as_zip))[0]
        found = submission_of(anna.files(), a03, "anna")
        assert (found.name, found.cells[0][2]) == ("all.zip/mine/a03.py", "x = 1")
        with pytest.raises(UsageError, match=r"ben has no \.py or \.ipynb; hand in a03"):
            submission_of(ben.files(), a03, "ben")


def test_a_bomb_is_read_no_further_than_asked(tmp_path: Path) -> None:
    bomb = zipped({"a03.py": b"0" * 20_000_000})
    [file] = files_in_zip(HandedIn("b.zip", lambda most: bomb))
    with pytest.raises(UsageError, match="too large"):
        file.read(1000)
    liar = bytearray(bomb)
    for at in (22, bomb.index(b"PK\x01\x02") + 24):  # says that it is short when unpacked
        liar[at : at + 4] = (10).to_bytes(4, "little")
    [file] = files_in_zip(HandedIn("b.zip", lambda most: bytes(liar)))
    with pytest.raises(UsageError, match=r"cannot read a03\.py in b\.zip"):
        file.read(1000)


def test_archives_with_too_much_in_them_are_refused(tmp_path: Path) -> None:
    many = zipped({f"{i}.py": "" for i in range(2001)}, zipfile.ZIP_STORED)
    with pytest.raises(UsageError, match="more than 2000"):
        files_in_zip(HandedIn("b.zip", lambda most: many))
    venv = zipped({f".venv/{i}.py": "" for i in range(2001)} | {"a03.py": ""}, zipfile.ZIP_STORED)
    assert [f.name for f in files_in_zip(HandedIn("b.zip", lambda most: venv))] == ["a03.py"]
    with pytest.raises(UsageError, match="more than 2000"):  # before they are taken apart
        files_in_zip(HandedIn("b.zip", lambda most: b"PK\x01\x02" * 60_000))
    (tmp_path / "large.zip").touch()
    os.truncate(tmp_path / "large.zip", LARGEST_ZIP + 1)
    with pytest.raises(UsageError, match="too large"):
        files_in(tmp_path / "large.zip")


def test_a_folder_with_too_many_files_is_refused(tmp_path: Path) -> None:
    for i in range(2001):
        (tmp_path / f"{i}.txt").touch()
    with pytest.raises(UsageError, match="more than 2000"):
        files_in(tmp_path)


def test_damaged_archives_are_an_error_in_one_line(tmp_path: Path) -> None:
    good = zipped({"a03.py": os.urandom(500).hex(), "b.py": "x" * 500})
    generator = random.Random(0)
    messages: list[str] = []
    for _ in range(300):
        data = bytearray(good)
        for _ in range(generator.randint(1, 6)):
            data[generator.randrange(len(data))] = generator.randrange(256)
        try:
            for file in files_in_zip(HandedIn("b.zip", lambda most, data=data: bytes(data))):
                file.read(10_000)
        except UsageError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert not any("\n" in message for message in messages)


def test_other_kinds_of_compression_are_not_tried(tmp_path: Path) -> None:
    data = zipped({"a03.py": "x" * 1000}, zipfile.ZIP_LZMA)
    [file] = files_in_zip(HandedIn("b.zip", lambda most: data))
    with pytest.raises(UsageError, match="compression is unusual"):
        file.read(1000)


def test_where_there_is_nothing_it_is_said(tmp_path: Path) -> None:
    for make, message in [
        (lambda: tmp_path / "absent", "no folder and no zip"),
        (lambda: place(tmp_path, {"x.txt": ""}, as_zip=False), "holds no submission"),
        (lambda: place(tmp_path, {}, as_zip=True), "holds no submission"),
    ]:
        with pytest.raises(UsageError, match=message):
            entries_in(make())
    (tmp_path / "bad.zip").write_text("PK")
    with pytest.raises(UsageError, match=r"cannot read bad\.zip"):
        entries_in(tmp_path / "bad.zip")


def test_of_two_zips_of_one_student_one_may_be_damaged(tmp_path: Path) -> None:
    files = {
        f"{MOODLE}one.zip": b"PK\x03\x04 nothing",
        f"{MOODLE}two.zip": zipped({"a03.py": "x = 1"}),
    }
    [entry], _ = entries_in(place(tmp_path, files, as_zip=False))
    submission = submission_of(entry.files(), find_assignment("a03"), "it")
    assert submission.cells[0][2] == "x = 1"
    assert submission.remarks == (f"{MOODLE}one.zip was not opened.",)
    (tmp_path / "class" / f"{MOODLE}two.zip").unlink()
    (tmp_path / "class" / f"{MOODLE}two.rar").write_bytes(b"r")
    [entry], _ = entries_in(tmp_path / "class")
    with pytest.raises(UsageError, match=r"cannot read .*zip"):
        submission_of(entry.files(), find_assignment("a03"), "it")
