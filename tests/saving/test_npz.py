"""NumPy archives of plain arrays: the same bytes each time, and nothing else is read."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.errors import DataError
from minires.saving import npz_bytes, read_npz
from tests.refusals import assert_refused
from tests.saving.damage import damaged

ARRAYS: dict[str, np.ndarray] = {
    "layer1.0/weight.x": np.arange(6, dtype=np.float32).reshape(2, 3),
    "about": np.array("texts, ä"),
    "number": np.array(7),
    "nothing": np.zeros((0, 3), np.float16),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "truth": np.array([True, False]),
    "ü": np.arange(4, dtype=np.complex64),
    "every second": np.arange(10, dtype=np.uint8)[::2],
}


def same(found: Any, true: Any) -> None:
    assert list(found) == list(true)
    for name, array in true.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name


@pytest.mark.parametrize("compress", [True, False])
def test_arrays_come_back_here_and_in_numpy(compress: bool, tmp_path: Path) -> None:
    content = npz_bytes(ARRAYS, compress=compress)
    same(read_npz(io.BytesIO(content)), ARRAYS)
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        same({name: archive[name] for name in archive.files}, ARRAYS)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", **ARRAYS)  # type: ignore[arg-type]
        found = read_npz(tmp_path / "a.npz")
        same(found, ARRAYS)
        found["number"][...] = 8  # memory of its own
    assert read_npz(io.BytesIO(npz_bytes({}))) == {}


def test_the_same_arrays_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    first = npz_bytes(ARRAYS)
    for clock in ("time", "localtime", "gmtime"):
        monkeypatch.setattr(f"time.{clock}", lambda *now: pytest.fail("the time was asked for"))
    assert npz_bytes(ARRAYS) == first


def test_other_byte_orders_are_turned_into_the_one_of_this_machine() -> None:
    found = read_npz(io.BytesIO(npz_bytes({"a": np.arange(3, dtype=">i4")})))["a"]
    assert (found.dtype, found.tolist()) == (np.dtype("i4"), [0, 1, 2])


@pytest.mark.parametrize("array", [np.array([None]), np.zeros(1, "f4,i4"), np.zeros(1, "M8[s]")])
def test_only_numbers_and_texts_are_written(array: np.ndarray) -> None:
    assert_refused(lambda: npz_bytes({"fine": np.ones(1), "a": array}), DataError, "npz: a holds")


def archive(*entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in entries:
            file.writestr(name, content)
    return buffer.getvalue()


def npy(array: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def header(text: str, data: bytes = b"", version: bytes = b"\1\0") -> tuple[str, bytes]:
    return "a.npy", b"\x93NUMPY" + version + len(text).to_bytes(2, "little") + text.encode() + data


class Trap:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


ONE = npz_bytes({"a": np.arange(100.0)})
STORED = npz_bytes({"a": np.arange(100.0)}, compress=False)


def with_size(content: bytes, size: int) -> bytes:
    """Another uncompressed size in the directory of an archive of one entry, and in the entry."""
    directory = content.index(b"PK\1\2")
    changed = bytearray(content)
    changed[directory + 24 : directory + 28] = changed[22:26] = size.to_bytes(4, "little")
    return bytes(changed)


PLAIN = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", " is no .npz archive: it is no zip"),
        (b"garbage", " is no .npz archive: it is no zip"),
        (npy([1.0]), " is no .npz archive: it is a single array (.npy)"),
        (ONE[:-30], " is no .npz archive: it is cut short or damaged"),
        (STORED[:-200] + b"\1" + STORED[-199:], ": its entry 'a.npy' is damaged (Bad CRC-32"),
        (ONE[:70] + b"\0\0" + ONE[72:], ": its entry 'a.npy' is damaged (Error -3"),
        (with_size(ONE, 100), ": its entry 'a.npy' is damaged (Bad CRC-32"),
        (with_size(ONE, 5000), ": its entry 'a.npy' is damaged"),
        (with_size(ONE, 2**32 - 2), " has ... claims to unpack to 4294967294: more than 1 GiB, "),
        (archive(("b/c.npy", npy([None], allow_pickle=True))), ": its entry 'b/c' ... objects"),
        (archive(("a.npy", npy(np.zeros(1, "f4,i4")))), ": its entry 'a' ... structures"),
        (archive(("a.npy", npy(np.zeros(1, "M8[s]")))), ": its entry 'a' ... datetime64"),
        (archive(("a.txt", b"1")), " is no .npz archive: its entry 'a.txt' is no array"),
        (archive(("a.npy", b"1")), ": its entry 'a' is no array (it does not begin like one"),
        (archive(header(PLAIN, b"12345")), ": its entry 'a' is no array (5 bytes for (1,) float32"),
        (archive(header(PLAIN, b"1234", b"\4\0")), ": its entry 'a' ... begin like one"),
        (archive(header(PLAIN.replace("1,", "-1,"))), ": its entry 'a' ... its shape is (-1,)"),
        (archive(header(PLAIN.replace("1,", f"{2**70}, 0"))), ": its entry 'a' ... its shape is"),
        (archive(header(PLAIN.replace("(1,)", "[True]"))), ": its entry 'a' ... shape is [True]"),
        (archive(header("print('hello')")), ": its entry 'a' is no array (malformed"),
        (archive(header("(" * 5000)), ": its entry 'a' is no array"),
        (archive(header(" " * 20_000)), ": its entry 'a' is no array (a header of 20000 bytes"),
        (archive(("a.npy", npy(1.0)), method=zipfile.ZIP_BZIP2), ": its entry ... not stored or"),
    ],
)
def test_anything_else_is_refused_with_file_entry_and_reason(
    content: bytes, expected: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.npz"
    file.write_bytes(content)
    assert_refused(lambda: read_npz(file), DataError, expected, prefix=repr(str(file)))


def test_an_entry_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        content = archive(("a.npy", npy(1.0)), ("a.npy", npy(2.0)))
    assert_refused(
        lambda: read_npz(io.BytesIO(content)),
        DataError,
        "the file in memory has more than one entry 'a.npy'",
    )


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    assert_refused(
        lambda: read_npz(tmp_path / "no.npz"), DataError, "' cannot be read: No such file",
        prefix=repr(str(tmp_path / "no.npz"))[:-1],
    )  # fmt: skip
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_npz(tmp_path)
    with pytest.raises(DataError, match="cannot be read: embedded null"):
        read_npz("a\0b")


def test_an_entry_of_objects_is_not_unpickled(tmp_path: Path) -> None:
    made = tmp_path / "made"
    content = archive(("a.npy", npy(np.array([Trap(made)]), allow_pickle=True)))
    with pytest.raises(DataError, match="objects, which only running code could read"):
        read_npz(io.BytesIO(content))
    assert not made.exists()


SMALL = {name: ARRAYS[name] for name in ("number", "truth", "layer1.0/weight.x")}


@given(st.booleans().flatmap(lambda c: damaged(npz_bytes(SMALL, compress=c))))
def test_a_damaged_archive_is_refused_or_gives_arrays_of_the_archive(content: bytes) -> None:
    try:
        found = read_npz(io.BytesIO(content))
    except DataError:
        return
    values = {array.tobytes() for array in SMALL.values()}
    assert {array.tobytes() for array in found.values()} <= values
