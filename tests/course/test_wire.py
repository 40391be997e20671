"""What travels between the grader and a process arrives whole, and nothing else arrives."""

from __future__ import annotations

import io
import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minires.course.inside import wire
from minires.course.inside.wire import WireError, decode, encode, receive, send

ARRAYS = st.sampled_from(sorted(wire.DTYPES)).flatmap(
    lambda name: hnp.arrays(
        np.dtype(name).newbyteorder("<"), hnp.array_shapes(min_dims=0, min_side=0, max_side=4)
    )
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text()
    | st.binary()
    | ARRAYS
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


def message(tree: Any, data: bytes = b"") -> bytes:
    text = json.dumps(tree).encode()
    return struct.pack("<II", len(text), len(data)) + text + data


def same(one: Any, other: Any) -> bool:
    if isinstance(one, np.ndarray):
        return (
            isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.shape == other.shape
            and one.tobytes() == other.tobytes()
        )
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other or (one != one and other != other)


@given(TREES)
def test_what_is_sent_arrives(tree: Any) -> None:
    assert same(decode(encode(tree)), tree)


@given(TREES)
def test_messages_follow_each_other_on_a_stream(tree: Any) -> None:
    stream = io.BytesIO()
    send(stream, tree)
    send(stream, "next")
    stream.seek(0)
    assert same(receive(stream, wire.UNLIMITED), tree)
    assert receive(stream, 100) == "next"
    with pytest.raises(EOFError):
        receive(stream, 100)


def test_an_array_in_another_order_of_axes_or_bytes_arrives_with_the_same_numbers() -> None:
    array = np.arange(12.0).reshape(3, 4)
    for view in (array.T, array[::-1, ::2], array.astype(">f8"), np.broadcast_to(array, (2, 3, 4))):
        found = decode(encode(view))
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, view)
    found.flags.writeable = True  # an array of its own


class Tensor:
    data = np.ones(3)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (object(), "object cannot be sent"),
        ({1: 2}, "keys are strings"),
        (np.array([None]), "object cannot be sent"),
        (np.array([1j]), "complex128 cannot be sent"),
        (np.array([b"text"]), "cannot be sent"),
        (np.zeros((1 << 21, 0)), "empty array of so many"),
        (2**63, "beyond 64 bits"),
        (-(2**63) - 1, "beyond 64 bits"),
        (lambda: 0, "function cannot be sent"),
    ],
)
def test_what_cannot_travel_is_named(value: Any, told: str) -> None:
    with pytest.raises(WireError, match=told):
        encode([value])


def test_a_list_that_holds_itself_cannot_travel() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(WireError, match="more than 32 deep"):
        encode(endless)


def test_a_tensor_travels_as_its_array() -> None:
    np.testing.assert_array_equal(decode(encode(Tensor())), np.ones(3))


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        (np.str_("a"), "a"),
        (np.array(["a", "bc"])[1], "bc"),
        (np.array("a"), "a"),
        (np.array([["a"], ["bc"]]), [["a"], ["bc"]]),
        ({np.str_("key"): 1}, {"key": 1}),
    ],
)
def test_texts_of_numpy_travel_as_texts(value: Any, arrives: Any) -> None:
    assert same(decode(encode(value)), arrives)


def test_long_doubles_travel_as_doubles() -> None:
    assert same(decode(encode(np.longdouble(0.5))), np.array(0.5))
    assert same(decode(encode(np.arange(3, dtype=np.longdouble))), np.arange(3.0))


def test_halves_of_characters_become_question_marks() -> None:
    assert decode(encode({"\ud800": "a\udfffb"})) == {"?": "a?b"}


def test_any_byte_of_a_boolean_array_that_is_not_zero_is_true() -> None:
    found = decode(message({"a": ["bool", [3]]}, b"\x00\x01\xff"))
    assert found.dtype == bool
    assert found.tobytes() == b"\x00\x01\x01"


# --- hostile bytes ---


@given(st.binary(max_size=200))
@example(b"")
@example(b"\xff" * 8)
def test_bytes_are_a_message_or_a_wire_error(data: bytes) -> None:
    for one in (data, struct.pack("<II", len(data), 0) + data):
        try:
            decode(one)
        except WireError:
            pass


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["a", "b", "d", "f", "l", "t", "float64", "bool", "nan"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from("abdfltx"), inner, min_size=1, max_size=1)
    ),
    max_leaves=10,
)


@given(JSON, st.binary(max_size=32))
@example({"a": ["object", [1]]}, bytes(8))
@example({"a": ["V8", [1]]}, bytes(8))
@example({"a": [["float64"], [1]]}, bytes(8))
@example({"a": ["float64", [-1]]}, bytes(8))
@example({"a": ["float64", [True]]}, bytes(8))
@example({"a": ["float64", "1"]}, bytes(8))
@example({"a": ["float64", {}]}, bytes(8))
@example({"a": ["float64", [0, 1 << 70]]}, b"")
@example({"a": ["bool", [0, 1 << 20, 1 << 20]]}, b"")
@example({"a": ["float64", [1 << 62, 4]]}, bytes(8))
@example({"a": ["float64", [1] * 40]}, bytes(8))
@example({"b": -1}, b"")
@example({"b": 1.0}, b"x")
@example({"d": [["x"]]}, b"")
@example({"d": ["xy"]}, b"")
@example({"d": [[{"l": []}, 1]]}, b"")
@example({"f": "1"}, b"")
@example({"f": []}, b"")
@example(10**30, b"")
@example({"l": {"l": []}}, b"")
def test_a_header_is_a_tree_or_a_wire_error(tree: Any, data: bytes) -> None:
    try:
        found = decode(message(tree, data))
    except WireError:
        return
    assert same(decode(encode(found)), found)  # so it is one of those that can be sent


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 100_000,
        b'{"l":[' * 100_000,
        b'{"l":[' * 40 + b"]}" * 40,
        b"9" * 5000,
        b"\xff",
        b"NaN,",
    ],
)
def test_a_header_that_ends_a_reader_is_a_wire_error(text: bytes) -> None:
    with pytest.raises(WireError):
        decode(struct.pack("<II", len(text), 0) + text)


def test_bytes_belong_to_one_array_and_all_of_them_to_some() -> None:
    array = {"a": ["float64", [1]]}
    assert decode(message({"l": [array, array]}, bytes(16))) == [0.0, 0.0]
    for data in (bytes(8), bytes(15), bytes(17)):
        with pytest.raises(WireError):
            decode(message({"l": [array, array]}, data))


class Counting(io.BytesIO):
    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self.taken += len(found)
        return found


@pytest.mark.parametrize("lengths", [(2**32 - 1, 2**32 - 1), (0, 1001), (1001, 0), (2**20 + 1, 0)])
def test_a_message_that_is_too_long_is_not_even_read(lengths: tuple[int, int]) -> None:
    stream = Counting(struct.pack("<II", *lengths) + bytes(2000))
    with pytest.raises(WireError):
        receive(stream, 1000 if max(lengths) < 2**20 or lengths[1] else 1 << 24)
    assert stream.taken == 8


@pytest.mark.parametrize("shape", [[10**9, 0], [0, 10**9], [1 << 15, 0, 1 << 15], [0, 1 << 70]])
def test_an_array_of_no_bytes_that_is_a_long_list_is_refused(shape: list[int]) -> None:
    with pytest.raises(WireError, match="empty array"):
        decode(message({"a": ["float64", shape]}))


def test_an_empty_array_of_an_ordinary_shape_arrives() -> None:
    assert decode(encode(np.zeros((0, 3, 32, 32)))).shape == (0, 3, 32, 32)


def test_what_a_message_takes_is_bounded_by_its_length() -> None:
    """The worst of headers, a megabyte of empty lists: a hundred megabytes, and not more."""
    import tracemalloc

    most = wire.LONGEST_HEADER // len('{"l":[]},')
    text = b'{"l":[' + b'{"l":[]},' * (most - 1) + b"1]}"
    tracemalloc.start()
    found = decode(struct.pack("<II", len(text), 0) + text)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found) == most
    assert peak < 100 << 20
    assert wire.size_once_read(struct.pack("<II", len(text), 8) + text) == 50 * len(text) + 8


def test_special_numbers_arrive() -> None:
    found = decode(encode([math.inf, -math.inf, math.nan, -0.0, 5e-324]))
    assert found[:2] == [math.inf, -math.inf]
    assert math.isnan(found[2])
    assert math.copysign(1, found[3]) == -1
    assert found[4] == 5e-324
