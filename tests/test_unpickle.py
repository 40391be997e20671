"""Pickles read as data: arrays come back, everything else is refused, and nothing runs."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import struct
import tracemalloc
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minires.errors import DataError
from minires.unpickle import NUMPY, restricted_load
from tests.refusals import assert_refused

ARRAYS = [
    np.arange(6, dtype=dtype).reshape(2, 3)
    for dtype in ("u1", "i8", "f2", "f4", "f8", "c8", "c16", ">i4")
]
ARRAYS += [np.array([True, False]), np.zeros((0, 3), "f4"), np.array(7.5), np.arange(10)[::3]]
ARRAYS += [np.asfortranarray(np.arange(6.0).reshape(2, 3)), np.zeros((2, 0, 2), np.int32)]


def load(content: bytes, **options: Any) -> Any:
    return restricted_load(io.BytesIO(content), NUMPY, what="the file", **options)


def refused(content: bytes, expected: str, **options: Any) -> None:
    assert_refused(lambda: load(content, **options), DataError, expected, prefix="the file ")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_and_numbers_come_back_as_pickle_reads_them(protocol: int) -> None:
    content = pickle.dumps([ARRAYS, np.float32(1.5), np.int64(-3), np.bool_(True)], protocol)
    for found, true in zip(load(content)[0], pickle.loads(content)[0], strict=True):
        assert type(found) is np.ndarray
        assert (found.dtype, found.shape) == (true.dtype, true.shape)
        assert found.tobytes("A") == true.tobytes("A")
        assert found.flags.f_contiguous == true.flags.f_contiguous
        found[...] = 0
    assert [float(number) for number in load(content)[1:]] == [1.5, -3.0, 1.0]


keys = st.text() | st.binary() | st.integers() | st.booleans() | st.none()
data = st.recursive(
    keys | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(keys, inner),
)


@given(data, st.integers(2, 5))
def test_plain_data_come_back_as_they_were(value: Any, protocol: int) -> None:
    assert load(pickle.dumps(value, protocol)) == value


def test_tables_of_the_standard_library_come_back_as_plain_ones() -> None:
    value = OrderedDict(a=1, b=[2])
    value.note = "attributes are left out"  # type: ignore[attr-defined]
    found = load(pickle.dumps([value, Counter("aab")]))
    assert found == [value, {"a": 2, "b": 1}]
    assert type(found[0]) is OrderedDict
    assert vars(found[0]) == {}
    by_python_2 = b"\x80\x02ccollections\nOrderedDict\n(](](X\1\0\0\0aK\1eetR."
    assert load(by_python_2) == OrderedDict(a=1)


def test_what_python_2_wrote_is_read_in_the_encoding_asked_for() -> None:
    """The layout of CIFAR's archives: the array is a text of Python 2."""
    pixels = bytes(range(250, 256))
    content = (
        b"\x80\x02}q\x01(U\4dataq\x02cnumpy.core.multiarray\n_reconstruct\nq\x03cnumpy\nndarray\n"
        b"q\x04K\0\x85U\x01b\x87R(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02u1K\0K\x01\x87R(K\x03"
        b"U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb\x89U\x06" + pixels + b"tbU\x06labels]"
        b"(K\x07I12\nI01\neu."
    )
    for encoding, name in (("bytes", bytes), ("latin1", lambda text: text.decode())):
        found = load(content, encoding=encoding)
        assert found[name(b"data")].tolist() == [[250, 251, 252], [253, 254, 255]]
        assert found[name(b"labels")] == [7, 12, True]
    refused(content, "is damaged or no pickle (a text of Python 2 that is not ASCII")


def test_one_pickle_is_read_and_the_stream_left_behind_it() -> None:
    stream = io.BytesIO(pickle.dumps([1]) + pickle.dumps([2]) + b"rest")
    assert [restricted_load(stream, {}, what="f") for _ in range(2)] == [[1], [2]]
    assert stream.read() == b"rest"


def test_objects_kept_elsewhere_are_asked_for() -> None:
    content = b"\x80\x02](X\1\0\0\0aQX\1\0\0\0bQe."
    assert load(content, persistent_load=str.upper) == ["A", "B"]
    refused(content, "is damaged or no pickle (it has objects that are kept elsewhere")


# --- code ---


class Trap:
    """What an attacker writes: any call at all."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("nest", [lambda t: t, lambda t: {"a": [np.ones(2), (t,)]}])
def test_a_call_is_refused_by_name_and_not_made(protocol: int, nest: Any, tmp_path: Path) -> None:
    made = tmp_path / "made"
    for trap, name in [
        (Trap(os.mkdir, str(made)), "posix.mkdir"),
        (Trap(eval, f"open({str(made)!r}, 'w')"), "builtin"),
        (Trap(os.system, f"touch {made}"), "posix.system"),
    ]:
        content = pickle.dumps(nest(trap), protocol)
        refused(content, f"asks for ... {name} ... nothing was run")
        assert not made.exists()
    pickle.loads(content)  # the trap is a true one
    assert made.exists()


def code(*instructions: bytes) -> bytes:
    return b"\x80\x02" + b"".join(instructions) + b"."


RECONSTRUCT = b"cnumpy.core.multiarray\n_reconstruct\n"
DTYPE = b"cnumpy\ndtype\n"
EMPTY = RECONSTRUCT + b"cnumpy\nndarray\nK\0\x85C\1b\x87R"
NONE_FIELDS = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0"


def dtype(name: bytes) -> bytes:
    return DTYPE + b"C" + bytes([len(name)]) + name + b"\x89\x88\x87R"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (code(b"\x82\1"), "has the instruction EXT1 at byte 2"),
        (code(b"\x83\1\0"), "has the instruction EXT2 at byte 2"),
        (code(b"\x84\1\0\0\0"), "has the instruction EXT4 at byte 2"),
        (code(b"(X\2\0\0\0lsios\nsystem\n"), "has the instruction INST at byte 10"),
        (code(b"(" + DTYPE + b"o"), "has the instruction OBJ"),
        (code(DTYPE, b")\x81"), "has the instruction NEWOBJ"),
        (code(DTYPE, b")}\x92"), "has the instruction NEWOBJ_EX"),
        (code(b"\x97"), "has the instruction NEXT_BUFFER"),
        (code(b"Pa\n"), "has the instruction PERSID"),
        (code(b"\x8f"), "has the instruction EMPTY_SET"),
        (code(b"\xff"), "has an unknown instruction at byte 2"),
        (b"\x80\x06N.", "is damaged or no pickle (protocol 6 is unknown"),
        (b"(lp0\n.", "has the instruction LIST"),
        (code(b"cos\nsystem\n"), "asks for os.system"),
        (code(b"cnumpy\ndtype.__init__.__globals__\n"), "asks for numpy.dtype.__init__"),
        (code(b"c\x1b[31m\nx\n"), "asks for '\\x1b[31m.x'"),
        (code(b"c" + b"a" * 2000 + b"\nb\n"), "is damaged or no pickle (a line without end"),
        (code(b"K\1K\2\x93"), "is damaged or no pickle (a name that is no text"),
        # the state of what is no array
        (code(DTYPE, b"}b"), "is damaged or no pickle (a state for a type"),
        (code(RECONSTRUCT, b"N}\x86b"), "is damaged or no pickle (a state for a function"),
        (code(b"]}b"), "is damaged or no pickle (a state for a list"),
        (code(b"}}b"), "is damaged or no pickle (a state for a dict"),
        # calls of what is none, and of stand-ins with other arguments than NumPy's
        (code(b"])R"), "is damaged or no pickle (a call of what is no function"),
        (code(b"cnumpy\nndarray\n)R"), "is damaged or no pickle ('object' object is not"),
        (code(RECONSTRUCT, b"]R"), "is damaged or no pickle (a call of what is no function"),
        (code(RECONSTRUCT, b")R"), "is damaged or no pickle"),
        (code(RECONSTRUCT, DTYPE, b"K\0\x85C\1b\x87R"), "is damaged ... not made in NumPy's way"),
        (code(RECONSTRUCT, b"cnumpy\nndarray\nK\x09\x85C\1b\x87R"), "is damaged ... NumPy's way"),
        (code(b"c_codecs\nencode\nX\1\0\0\0aX\3\0\0\0hex\x86R"), "is damaged ... Python's way"),
        # arrays of other things
        (code(dtype(b"O")), "is damaged or no pickle (elements of type 'O' are no plain"),
        (code(dtype(b"V8")), "is damaged or no pickle (elements of type 'V8'"),
        (code(dtype(b"f4,O")), "is damaged or no pickle (elements of type 'f4,O'"),
        (code(dtype(b"i99")), "is damaged or no pickle (data type 'i99'"),
        (code(dtype(b"f4"), b"(K\3C\1<]NNtb"), "is damaged ... parts or fields"),
        (code(dtype(b"f4"), b"(K\3C\1xNNNtb"), "is damaged ... parts or fields"),
        (code(EMPTY, b"(K\1K\1\x85", dtype(b"f4"), b"\x89]tb"), "is damaged ... something else"),
        (code(EMPTY, b"(K\1K\1\x85C\1f\x89C\0tb"), "is damaged ... something else"),
        # sizes
        (code(EMPTY, b"(K\1K\2\x85", dtype(b"f4"), b"\x89C\4aaaatb"), "is damaged ... 4 bytes for"),
        (code(EMPTY, b"(K\1J\xff\xff\xff\xff\x85", dtype(b"f4"), b"\x89C\0tb"), "is ... (-1,)"),
        (code(EMPTY, b"(K\1K\1\x85", dtype(b"b1"), b"\x89C\1\2tb"), "is damaged ... truth value"),
        # lengths beyond the file
        (code(b"\x8e" + struct.pack("<Q", 2**62)), "is damaged or no pickle (it is cut short"),
        (code(b"\x8d" + struct.pack("<Q", 2**63 + 1)), "is damaged or no pickle (it is cut short"),
        (code(b"\x96" + struct.pack("<Q", 2**40)), "is damaged or no pickle (it is cut short"),
        (code(b"B\xff\xff\xff\xff"), "is damaged or no pickle (it is cut short"),
        (code(b"\x8b\xff\xff\xff\x7f"), "is damaged or no pickle (it is cut short"),
        (code(b"\x8b\xff\xff\xff\xff"), "is damaged or no pickle (a length of -1"),
        (code(b"T\xff\xff\xff\xff"), "is damaged or no pickle (a length of -1"),
        (code(b"I" + b"9" * 5000 + b"\n"), "is damaged or no pickle (a line without end"),
        # the stack and the memory
        (b"\x80\x02NN.", "is damaged or no pickle (objects are left over"),
        (b"\x80\x02(N.", "is damaged or no pickle (objects are left over"),
        (code(b"h\7"), "is damaged or no pickle (nothing was remembered under 7"),
        (code(b"N\x86"), "is damaged or no pickle (the stack is too short"),
        (code(b"t"), "is damaged or no pickle (pop from empty list"),
        (code(b"}K\1a"), "is damaged or no pickle (items for a dict"),
        (code(b"](K\1K\2u"), "is damaged or no pickle (keys and values for a list"),
        (code(b"}(K\1u"), "is damaged or no pickle (keys and values for a dict"),
        (code(b"}K\1\x85Ns"), "is damaged or no pickle (a tuple as a key"),
        (b"", "is damaged or no pickle (it is cut short"),
        (b"hello", "is damaged or no pickle (nothing was remembered"),
    ],
)
def test_what_could_reach_code_or_fill_memory_is_refused(content: bytes, expected: str) -> None:
    refused(content, expected)


def test_every_instruction_is_known_or_refused_by_name() -> None:
    for op in pickletools.opcodes:
        stream = b"\x80\x02" + op.code.encode("latin1")
        with pytest.raises(DataError, match=r"instruction|damaged"):
            load(stream)


def test_types_that_all_arrays_share_are_left_alone() -> None:
    content = code(dtype(b"f4"), b"(K\3C\1>", NONE_FIELDS, b"tb0N")
    load(content)
    assert np.dtype("f4").byteorder == "="


@pytest.mark.parametrize(
    "content",
    [
        code(b"Nr\xff\xff\xff\x7f"),  # the memory is no list as long as its index
        code(b"N" + b"\x85" * 100_000),  # nested tuples
        code(b"]" * 1 + b"2a" * 1000),  # a list that contains itself
        code(b"]q\0(" + b"h\0" * 10_000 + b"e"),
    ],
    ids=["memory", "nested", "itself", "references"],
)
def test_odd_pickles_take_memory_in_proportion(content: bytes) -> None:
    tracemalloc.start()
    try:
        load(content)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000 + 100 * len(content)
    finally:
        tracemalloc.stop()


def test_a_text_that_is_used_again_and_again_does_not_fill_memory() -> None:
    text = b"X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"q\0"
    encode = b"c_codecs\nencode\nq\1" + b"X\6\0\0\0latin1q\2"
    again = b"h\1h\0h\2\x86R" * 10_000  # 100 kB each: together 1 GB
    tracemalloc.start()
    try:
        refused(
            code(b"(" + text + encode + again + b"t"),
            "is damaged or no pickle (it uses the same bytes again and again",
        )
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


DOUBLED = b"K\1" + b"2\x86" * 60  # a tuple of two of a tuple of two of ...: 2^60 numbers to show


@pytest.mark.parametrize(
    "content",
    [
        code(DTYPE, DOUBLED, b"\x85R"),
        code(EMPTY, b"(K\1", DOUBLED, b"\x85", dtype(b"f4"), b"\x89C\0tb"),
        code(EMPTY, b"(K\1", DOUBLED, dtype(b"f4"), b"\x89C\0tb"),
        code(b"}", DOUBLED, b"Ns"),
        code(b"c_codecs\nencode\n", DOUBLED, b"R"),
        code(RECONSTRUCT, DOUBLED, b"R"),
        code(DOUBLED, b"}b"),
        code(b"ccollections\nOrderedDict\n", DOUBLED, b"\x85R"),
    ],
)
def test_what_is_far_larger_when_shown_is_not_shown(content: bytes) -> None:
    refused(content, "is damaged or no pickle (")


VALUE = {"data": [np.arange(5.0), np.arange(3, dtype="u1")], b"x": (1, 2.5, "text", None, True)}


@given(st.integers(2, 5), st.data())
def test_damaged_pickles_are_refused_or_give_data(protocol: int, draw: st.DataObject) -> None:
    content = bytearray(pickle.dumps(VALUE, protocol))
    at = draw.draw(st.integers(0, len(content) - 1))
    match draw.draw(st.sampled_from(["flip", "cut", "insert", "drop"])):
        case "flip":
            content[at] = draw.draw(st.integers(0, 255))
        case "cut":
            del content[at:]
        case "insert":
            content[at:at] = draw.draw(st.binary(min_size=1, max_size=8))
        case "drop":
            del content[at]
    try:
        load(bytes(content))
    except DataError:
        pass


@given(st.binary(max_size=60))
def test_garbage_is_refused_or_gives_data(content: bytes) -> None:
    try:
        load(b"\x80\x04" + content + b".")
    except DataError:
        pass
