"""The safetensors format by hand: the same bytes as the library reads, and what it would refuse."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from minires.errors import DataError
from minires.saving import read_metadata, read_safetensors, safetensors_bytes
from tests.refusals import assert_refused
from tests.saving.damage import damaged
from tests.saving.goldens import FOLDER, assert_same, expected

LIBRARY, OURS = FOLDER / "library.safetensors", FOLDER / "ours.safetensors"


def test_what_the_library_wrote_is_read_bit_for_bit() -> None:
    found = read_safetensors(LIBRARY)
    true = expected(LIBRARY.name)
    assert_same({name: found[name] for name in true}, true)  # the library sorts
    assert len(found) == len(true)
    assert read_metadata(LIBRARY) == {"made by": "the library"}


def test_what_is_written_here_the_library_read_bit_for_bit() -> None:
    """ours.safetensors was written here; expected.npz holds what the library read in it."""
    arrays = expected(OURS.name)
    assert safetensors_bytes(arrays, {"made by": "minires"}) == OURS.read_bytes()
    assert_same(read_safetensors(OURS), arrays)
    assert {array.dtype.name for array in arrays.values()} == {
        *(f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)),
        *("float16", "float32", "float64", "bool"),
    }


def test_the_layout_is_the_published_one() -> None:
    arrays = {"b": np.array([True]), "a": np.array([[1.0, 2.0]], np.float32)}
    content = safetensors_bytes(arrays)
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    assert json.loads(content[8 : 8 + length]) == {
        "b": {"dtype": "BOOL", "shape": [1], "data_offsets": [8, 9]},
        "a": {"dtype": "F32", "shape": [1, 2], "data_offsets": [0, 8]},  # aligned
    }
    assert content[8 + length :] == arrays["a"].astype("<f4").tobytes() + b"\1"
    assert read_metadata(io.BytesIO(content)) == {}


def test_any_layout_in_memory_is_written_in_order() -> None:
    columns = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    arrays = {"columns": columns, "reversed": columns[:, ::-1], "big": np.arange(3, dtype=">i2")}
    found = read_safetensors(io.BytesIO(safetensors_bytes(arrays)))
    for name, array in arrays.items():
        assert found[name].tolist() == array.tolist()
    assert found["big"].dtype == np.dtype("i2")


@pytest.mark.parametrize(
    "array", [np.ones(1, "c8"), np.array("text"), np.array([None]), np.ones(1, "f4,i4")]
)
def test_only_types_that_the_format_knows_are_written(array: np.ndarray) -> None:
    assert_refused(lambda: safetensors_bytes({"x": array}), DataError, "safetensors: x of ")


def test_the_name_of_the_texts_is_no_name_of_a_tensor() -> None:
    with pytest.raises(DataError, match="__metadata__"):
        safetensors_bytes({"__metadata__": np.ones(1)})


def file_of(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: Any = "U8", shape: Any = (2,), at: Any = (0, 2), **more: Any) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": at, **more}


ONE = file_of({"a": entry()}, b"12")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", " is no safetensors file, or is cut short: it has 0 bytes"),
        (ONE[:20], " is no safetensors file, or is cut short: it has 20 bytes, and a header of"),
        (b"\xff" * 20, " is no safetensors file, or is cut short"),
        (ONE[:-1], ": its tensor 'a' cannot be read: it lies at 0 to 2 of 1 bytes"),
        (ONE + b"3", " has 1 bytes after the last tensor"),
        (file_of(b"{} x"), " is no safetensors file: its header is bad (Extra data"),
        (file_of(b"[]"), " is no safetensors file: its header is no JSON object"),
        (file_of(b" {}"), " is no safetensors file: its header is no JSON object"),
        (file_of(b"{\xff}"), " is no safetensors file: its header is bad"),
        (file_of(b"[" * 200_000), " is no safetensors file: its header is bad"),
        (file_of(b'{"a":1,"a":1}'), " is no ... bad ('a' is there more than once"),
        (file_of({"__metadata__": {"a": 1}}), ": its __metadata__ is not a table of texts"),
        (file_of({"a": 3}), ": its tensor 'a' ... needs just dtype, shape and data_offsets"),
        (file_of({"a": entry(more=1)}, b"12"), ": its tensor 'a' ... needs just dtype"),
        (file_of({"a": entry("F8_E4M3")}, b"12"), ": its tensor 'a' ... 'F8_E4M3' are not known"),
        (file_of({"a": entry(["U8"])}, b"12"), ": its tensor 'a' ... ['U8'] are not known"),
        (file_of({"a": entry(shape="2")}, b"12"), ": its tensor 'a' ... its shape is '2'"),
        (file_of({"a": entry(shape=[-2])}, b"12"), ": its tensor 'a' ... its shape is [-2]"),
        (file_of({"a": entry(shape=[2.0])}, b"12"), ": its tensor 'a' ... its shape is [2.0]"),
        (file_of({"a": entry(shape=[True, 2])}, b"12"), ": its tensor 'a' ... shape is [True, 2]"),
        (file_of({"a": entry(shape=[0, 2**80])}, b"12"), ": its tensor 'a' ... its shape is [0"),
        (file_of({"a": entry(shape=[3])}, b"12"), ": its tensor 'a' ... 2 bytes for (3,) uint8"),
        (file_of({"a": entry("BF16", [2])}, b"12"), ": its tensor 'a' ... 2 bytes for (2,)"),
        (file_of({"a": entry("BOOL")}, b"\1\2"), ": its tensor 'a' ... truth value"),
        (file_of({"a": entry(at=[0])}, b"12"), ": its tensor 'a' ... data_offsets [0]"),
        (file_of({"a": entry(at=[2, 0])}, b"12"), ": its tensor 'a' ... it lies at 2 to 0"),
        (file_of({"a": entry(at=[-2, 0])}, b"12"), ": its tensor 'a' ... it lies at -2 to 0"),
        (file_of({"a": entry(at=[1, 3])}, b"123"), ": its tensor 'a' at byte 1 leaves bytes"),
        (
            file_of({"a": entry(), "b": entry(at=[1, 3])}, b"123"),
            ": its tensor 'b' at byte 1 overlaps",
        ),
        (file_of({"a": entry(), "b": entry()}, b"12"), ": its tensor 'b' at byte 0 overlaps"),
    ],
)
def test_anything_else_is_refused_with_file_tensor_and_reason(
    content: bytes, expected: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.safetensors"
    file.write_bytes(content)
    assert_refused(lambda: read_safetensors(file), DataError, expected, prefix=repr(str(file)))


def test_a_header_of_more_than_100_million_bytes_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("minires.saving.safetensors._LONGEST_HEADER", 20)
    with pytest.raises(DataError, match="a header of"):
        read_safetensors(io.BytesIO(ONE))


SMALL = {"a": np.arange(3, dtype=np.float32), "b": np.array(True), "c": np.zeros((0, 2))}


@given(damaged(safetensors_bytes(SMALL)))
def test_a_damaged_file_is_refused_or_gives_tensors(content: bytes) -> None:
    """The format has no checksum: flipped bits of a weight are a weight."""
    try:
        found = read_safetensors(io.BytesIO(content))
    except DataError:
        return
    assert sum(array.nbytes for array in found.values()) <= 13 + 8
