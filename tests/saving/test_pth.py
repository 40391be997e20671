"""PyTorch's files of weights without PyTorch: every type and layout, and no code."""

from __future__ import annotations

import io
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minires as mr
from minires import nn
from minires.errors import DataError
from minires.saving import read_pth
from tests.refusals import assert_refused
from tests.saving.damage import damaged
from tests.saving.goldens import FILES, FOLDER, assert_same, expected

PTH = [file for file in FILES if not file.endswith(".safetensors")]


@pytest.mark.parametrize("file", PTH)
def test_what_pytorch_wrote_is_read_bit_for_bit(file: str) -> None:
    true = expected(file)
    assert_same(read_pth(FOLDER / file), true)
    assert true


@pytest.mark.parametrize("file", ["state_dict.pth", "checkpoint.pth", "checkpoint_legacy.bin"])
def test_a_state_dict_of_pytorch_fits_the_same_network_here(file: str) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.BatchNorm2d(2), nn.ReLU())
    model.load_state_dict(mr.load(FOLDER / file))
    assert model[1].num_batches_tracked.item() == 2


# --- files made here, as torch.save lays them out ---


class Name:
    """A name in another module, which is written without importing it."""

    def __init__(self, module: str, name: str):
        self.module, self.name = module, name


class Call:
    def __init__(self, name: Name, *arguments: Any):
        self.parts = name, arguments

    def __reduce__(self) -> Any:
        return self.parts


class Kept:
    """Something with a persistent id."""

    def __init__(self, *pid: Any):
        self.pid = pid


class Writer(pickle._Pickler):  # type: ignore[name-defined, misc]
    def persistent_id(self, obj: Any) -> Any:
        return obj.pid if isinstance(obj, Kept) else None

    def save_name(self, obj: Name) -> None:
        self.write(b"c" + f"{obj.module}\n{obj.name}\n".encode())

    def save_reduce(self, func: Any, args: Any, *rest: Any, **options: Any) -> None:
        self.save(func)
        self.save(args)
        self.write(pickle.REDUCE)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, Name: save_name}  # type: ignore[attr-defined]


def pickled(value: Any) -> bytes:
    buffer = io.BytesIO()
    Writer(buffer, 2).dump(value)
    return buffer.getvalue()


FLOATS = Name("torch", "FloatStorage")
BYTES = Name("torch.storage", "UntypedStorage")
REBUILD = Name("torch._utils", "_rebuild_tensor_v2")


def tensor(
    size: Any = (2,), stride: Any = (1,), offset: Any = 0, count: Any = 4, key: Any = "0",
    dtype: Any = FLOATS, view: Any = (),
) -> Call:  # fmt: skip
    storage = Kept("storage", dtype, key, "cpu", count, *view)
    return Call(REBUILD, storage, offset, size, stride, False, None)


DATA = np.arange(4, dtype="<f4").tobytes()


def zipped(value: Any, data: bytes = DATA, *, raw: bytes | None = None, **more: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x/data.pkl", pickled(value) if raw is None else raw)
        archive.writestr("x/data/0", data)
        for name, content in more.items():
            archive.writestr(f"x/{name}", content)
    return buffer.getvalue()


def legacy(value: Any, data: bytes = DATA, keys: Any = ("0",), little: Any = True) -> bytes:
    order = "<" if little else ">"
    pickles = [0x1950A86A20F9469CFC6C, 1001, {"little_endian": little}, value, list(keys)]
    blocks = struct.pack(order + "q", len(data) // 4) + data
    return b"".join(pickled(item) for item in pickles) + blocks


def read(content: bytes, **options: Any) -> OrderedDict[str, np.ndarray]:
    return read_pth(io.BytesIO(content), **options)


def refused(content: bytes, expected: str, **options: Any) -> None:
    prefix = "the file in memory"
    assert_refused(lambda: read(content, **options), DataError, expected, prefix=prefix)


@pytest.mark.parametrize("layout", [zipped, legacy])
def test_views_are_cut_from_their_storage(layout: Any) -> None:
    found = read(layout({"a": tensor((2, 2), (1, 2)), "b": tensor((2,), (2,), 1)}))
    assert found["a"].tolist() == [[0.0, 2.0], [1.0, 3.0]]
    assert found["b"].tolist() == [1.0, 3.0]
    found["a"][...] = 9  # memory of its own
    assert found["b"].tolist() == [1.0, 3.0]
    expanded = read(layout({"a": tensor((3,), (0,))}))["a"]
    expanded[0] = 9
    assert expanded.tolist() == [9.0, 0.0, 0.0]


def test_a_dimension_of_one_may_have_any_stride() -> None:
    found = read(zipped({"a": tensor((1, 2), (2**61, 1)), "b": tensor((0, 5), (5, 1))}))
    assert (found["a"].tolist(), found["b"].shape) == ([[0.0, 1.0]], (0, 5))


def test_files_of_machines_with_the_other_byte_order_are_read() -> None:
    data = np.arange(4, dtype=">f4").tobytes()
    for content in (zipped({"a": tensor()}, data, byteorder=b"big"), legacy(
        {"a": tensor()}, data, little=False
    )):  # fmt: skip
        assert read(content)["a"].tolist() == [0.0, 1.0]
        assert read(content)["a"].dtype == np.dtype("f4")


def test_storages_that_are_parts_of_others_are_read() -> None:
    """As PyTorch 0.4 wrote them: (key, start, length) of a part."""
    content = legacy({"a": tensor(view=(("1", 2, 2),)), "b": tensor(offset=1, view=(None,))})
    assert {name: array.tolist() for name, array in read(content).items()} == {
        "a": [2.0, 3.0], "b": [1.0, 2.0],
    }  # fmt: skip
    refused(
        legacy({"a": tensor((3,), view=(("1", 2, 2),))}), ": its tensor 'a' ... the 2 elements of"
    )
    refused(legacy({"a": tensor(view=(("1", 3, 2),))}), " is damaged ... a part from 3 of 2")


def test_networks_from_before_batches_were_counted_get_a_count_of_0() -> None:
    bn = nn.BatchNorm2d(2)
    names = ("weight", "bias", "running_mean", "running_var")
    found = read(legacy({f"{name}": tensor() for name in names}))
    assert found["num_batches_tracked"].dtype == np.int64
    assert bn.load_state_dict(found) == ([], [])
    assert bn.num_batches_tracked.item() == 0
    deep = read(zipped({"layer1.0.bn1.running_var": tensor()}))
    assert list(deep) == ["layer1.0.bn1.running_var", "layer1.0.bn1.num_batches_tracked"]


# --- which table of tensors ---

A = {"a": tensor()}


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "weights"])
def test_a_checkpoint_gives_its_state_dict(key: str) -> None:
    other = {"epoch": 3, "ema": A, "optimizer": {"state": {0: A}, "lr": 0.1}, "loss": tensor()}
    assert list(read(zipped({**other, key: {"module.b": tensor()}}))) == ["b"]
    assert list(read(zipped({"epoch": 3, "ema": A}))) == ["a"]  # the only one
    assert list(read(zipped({**other, key: A, "model2": {"c": tensor()}}), key="model2")) == ["c"]


def test_a_prefix_that_only_some_names_have_is_kept() -> None:
    assert list(read(zipped({"module.a": tensor(), "b": tensor()}))) == ["module.a", "b"]


def test_an_empty_state_dict_is_one() -> None:
    assert read(zipped({})) == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"model": A, "net": A},
            " holds more than one state dict: 'model', 'net'. ... key='model'",
        ),
        ({"x": A, "y": A}, " holds more than one state dict: 'x', 'y'."),
        ({"epoch": 3, 1: [A]}, " holds no state dict; it has 'epoch' (a int), 1 (a list)."),
        ({1: tensor()}, " holds no state dict; it has 1 (a tensor)"),
        (tensor(), " holds a tensor, not a state dict"),
        ([A], " holds a list, not a state dict"),
    ],
)
def test_without_just_one_state_dict_the_file_is_refused(value: Any, expected: str) -> None:
    refused(zipped(value), expected)
    refused(legacy(value), expected)


def test_an_entry_that_is_no_state_dict_is_refused() -> None:
    refused(zipped({"m": A, "n": 1}), " has no state dict under 'n'; it has 'm' (a dict)", key="n")


# --- damage ---


@pytest.mark.parametrize("layout", [zipped, legacy])
@pytest.mark.parametrize(
    ("value", "data", "expected"),
    [
        (A, DATA[:-4], ": its tensor 'a' ... its storage has 12 bytes instead of 4 float32"),
        (A, b"", ": its tensor 'a' ... its storage has 0 bytes instead of 4 float32"),
        ({"a": tensor((5,))}, DATA, ": its tensor 'a' ... read beyond the 4 elements"),
        ({"a": tensor((2,), (4,))}, DATA, ": its tensor 'a' ... stride (4,) and offset 0 read"),
        ({"a": tensor(offset=3)}, DATA, ": its tensor 'a' ... offset 3 read beyond"),
        ({"a": tensor((), (), 4)}, DATA, ": its tensor 'a' ... read beyond"),
        ({"a": tensor((2**61, 2**61), (1, 1))}, DATA, " has ... bytes and claims to unpack to"),
        ({"a": tensor((2**40,), (0,))}, DATA, " has ... bytes and claims to unpack to"),
        ({"a": tensor((2,), (1, 1))}, DATA, " is damaged ... not written in PyTorch's way"),
        ({"a": tensor((2,), (-1,), 3)}, DATA, " is damaged ... -1 where a number of elements"),
        ({"a": tensor(offset=-1)}, DATA, " is damaged ... -1 where a number of elements"),
        ({"a": tensor(count=-4)}, DATA, " is damaged ... -4 where a number of elements"),
        ({"a": tensor((2.0,))}, DATA, " is damaged ... 2.0 where a number of elements"),
        ({"a": tensor((1,) * 65, (1,) * 65)}, DATA, " is damaged ... where sizes are needed"),
        ({"a": tensor(dtype="Float")}, DATA, " is damaged ... not written in PyTorch's way"),
        ({"a": tensor(dtype=Name("torch", "QInt8Storage"))}, DATA, " asks for torch.QInt8Storage"),
        ({"a": Call(REBUILD, "0", 0, (1,), (1,))}, DATA, " is damaged ... PyTorch's way"),
        ({"a": Call(REBUILD)}, DATA, " is damaged"),
        (Kept("module", 1, 2), DATA, " is damaged"),
        (Kept(1), DATA, " is damaged"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    layout: Any, value: Any, data: bytes, expected: str
) -> None:
    refused(layout(value, data), expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", " is no .pth file: it is neither"),
        (b"\0" * 257 + b"ustar\0", " is of the tar format of PyTorch 0.1"),
        (zipped(A)[:-40], " is no .pth archive: it is cut short or damaged"),
        (zipped({"a": tensor(key="7")}), ": its tensor 'a' ... its storage '7' is not in the file"),
        (zipped(A, byteorder=b"middle"), ": its entry 'byteorder' is neither little nor big"),
        (zipped(A, **{"constants.pkl": b""}), " is a TorchScript program"),
        (zipped(A, raw=b"\x80\x02}"), " is damaged or no pickle (it is cut short"),
        (pickled(7), " is a pickle, but none of torch.save"),
        (pickled(0x1950A86A20F9469CFC6C), " is damaged or no pickle (it is cut short"),
        (
            legacy(A).replace(b"M\xe9\x03.", b"M\xea\x03."),
            " is of version 1002 of PyTorch's format",
        ),
        (legacy(A, little="yes"), " is of version"),
        (legacy(A, keys=[]), ": its tensor 'a' ... its storage '0' is not in the file"),
        (legacy(A, keys=["7"]), " is damaged: its storage '7' belongs to no tensor"),
        (legacy(A, keys=[[]]), " is damaged: its storage a list belongs to no tensor"),
        (legacy(A)[:-3], ": its tensor 'a' ... its storage has 13 bytes"),
    ],
)
def test_other_files_are_refused_with_the_reason(content: bytes, expected: str) -> None:
    refused(content, expected)


def test_an_archive_without_a_pickle_is_refused() -> None:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(1))
    refused(buffer.getvalue(), " is no .pth archive: it has 0 entries data.pkl")


DOUBLED: Any = 1
for _ in range(60):
    DOUBLED = (DOUBLED, DOUBLED)  # 2^60 numbers to show


@pytest.mark.parametrize("odd", [DOUBLED, 10**5000, [DOUBLED]], ids=["tuple", "int", "list"])
def test_what_is_far_larger_when_shown_is_not_shown(odd: Any) -> None:
    magic = pickled(0x1950A86A20F9469CFC6C)
    refused(magic + pickled(odd) + pickled({"little_endian": True}), " is of version a ")
    refused(legacy(A, keys=[odd]), " is damaged: its storage a ")
    refused(zipped({"a": tensor((odd,))}), " is damaged ... where a number of elements is needed")
    refused(zipped({"a": tensor(offset=odd)}), " is damaged ... a number of elements is needed")
    refused(zipped(odd), " holds a")
    refused(zipped({10**5000: 1, "b": odd}), " holds no state dict; it has a huge int (a int), 'b'")
    assert list(read(zipped({"model": A, "d": Call(Name("torch", "device"), odd)}))) == ["a"]


class Trap:
    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def test_code_is_refused_by_name_and_not_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    for trap, name in [
        (Trap(os.system, f"touch {made}"), "posix.system"),
        (Trap(eval, f"open({str(made)!r}, 'w')"), "__builtin__.eval"),
    ]:
        for value in (trap, {"state_dict": {"a": np.ones(1)}, "extra": [{"deep": (1, trap)}]}):
            raw = pickle.dumps(value, 2)
            refused(zipped(None, raw=raw), f" asks for {name}; ... nothing was run")
            refused(
                b"".join(map(pickled, (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})))
                + raw,
                f" asks for {name}; ... nothing was run",
            )
            refused(raw, f" asks for {name}; ... nothing was run")
            assert not made.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("argparse", "Namespace"),
        ("torchvision.models.resnet", "ResNet"),
        ("torch._utils", "_rebuild_sparse_tensor"),
        ("torch.jit", "load"),
        ("numpy.testing._private.utils", "runstring"),
    ],
)
def test_what_is_no_plain_data_is_refused_by_name(module: str, name: str) -> None:
    refused(zipped({**A, "x": Call(Name(module, name), "a")}), f" asks for {module}.{name}; only")


@given(st.sampled_from(PTH).flatmap(lambda file: damaged((FOLDER / file).read_bytes())))
def test_a_damaged_file_is_refused_or_gives_arrays(content: bytes) -> None:
    try:
        found = read(content)
    except DataError:
        return
    assert all(type(array) is np.ndarray for array in found.values())
    if content.startswith(b"PK"):  # zip archives have checksums
        true = {a.tobytes() for file in PTH for a in expected(file).values()}
        assert {array.tobytes() for array in found.values()} <= true


@given(damaged(pickled(A)), st.booleans())
def test_a_damaged_pickle_of_tensors_is_refused_or_gives_arrays(raw: bytes, whole: bool) -> None:
    start = b"".join(map(pickled, (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})))
    content = zipped(None, raw=raw) if whole else start + raw + pickled(["0"]) + b"\4" + bytes(7)
    try:
        found = read(content + b"" if whole else content + DATA)
    except DataError:
        return
    assert all(type(array) is np.ndarray for array in found.values())
