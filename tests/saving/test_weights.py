"""``mr.save`` and ``mr.load``: weights in a file and back, whatever the file is called."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires.errors import DataError, UsageError
from minires.train import save_checkpoint
from tests.refusals import assert_refused
from tests.saving.goldens import FILES, FOLDER, assert_same, expected


def network() -> Any:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    model(mr.randn(4, 1, 8, 8))  # the running statistics move
    return model


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "A.SafeTensors", "resnet.v1.npz"])
def test_a_network_comes_back_bit_for_bit(name: str, tmp_path: Path) -> None:
    model = network()
    file = mr.save(model, tmp_path / "new folder" / name)
    assert file == tmp_path / "new folder" / name
    found = mr.load(file)
    assert type(found) is OrderedDict
    assert_same(found, model.state_dict())
    fresh = mr.models.cifar_resnet(8, width=2, in_channels=1)
    fresh.load_state_dict(found)
    x = mr.randn(2, 1, 8, 8)
    assert fresh.eval()(x).tolist() == model.eval()(x).tolist()


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
def test_tensors_and_arrays_by_name_are_saved(ending: str, tmp_path: Path) -> None:
    values = {"t": mr.tensor([1.0, 2.0], requires_grad=True), "a": np.array(3), "s": np.float64(2)}
    found = mr.load(mr.save(values, str(tmp_path / f"a.{ending}")))
    assert {name: array.tolist() for name, array in found.items()} == {
        "t": [1.0, 2.0], "a": 3, "s": 2.0,
    }  # fmt: skip
    assert [array.dtype.name for array in found.values()] == ["float32", "int64", "float64"]


def test_what_cannot_be_saved_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    file = mr.save(network(), tmp_path / "a.npz")
    before = file.read_bytes()
    for state, error, message in [
        ({"a": np.ones(1), "b": [1.0]}, UsageError, "save: 'b' is a list; ... tensors or arrays"),
        ({1: np.ones(1)}, UsageError, "save: 1 is a ndarray; names are texts"),
        ([1.0], UsageError, "save: a list is neither a Module nor tensors by name"),
        ({"a": np.array([None])}, DataError, "npz: a holds object"),
    ]:
        assert_refused(lambda s=state: mr.save(s, file), error, message)  # type: ignore[misc]
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("name", ["a.pth", "a", "a.npz.old", ".npz"])
def test_other_endings_are_refused_before_anything_is_written(name: str, tmp_path: Path) -> None:
    expected = "save: the name of the file must end in .npz or .safetensors, got '"
    assert_refused(lambda: mr.save(network(), tmp_path / name), UsageError, expected)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("file", FILES)
def test_the_content_says_what_a_file_is_and_not_its_name(file: str, tmp_path: Path) -> None:
    other = tmp_path / "weights.npz"
    other.write_bytes((FOLDER / file).read_bytes())
    true = expected(file)
    found = mr.load(other)
    assert_same({name: found[name] for name in true}, true)
    assert len(found) == len(true)


def test_a_checkpoint_of_a_training_run_gives_its_weights(tmp_path: Path) -> None:
    model = network()
    file = save_checkpoint(tmp_path / "a.npz", model, epochs=3)
    assert_same(mr.load(file), model.state_dict())


@pytest.mark.parametrize("content", [b"", b"hello", b"\x93NUMPY\1\0", b"\0" * 600])
def test_a_file_of_no_kind_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    file.write_bytes(content)
    expected = f"{str(file)!r} holds no weights that can be read ... ({len(content)} bytes)"
    assert_refused(lambda: mr.load(file), DataError, expected)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no\.pth' cannot be read: No such file"):
        mr.load(tmp_path / "no.pth")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        mr.load(tmp_path)


def test_names_like_those_of_a_checkpoint_come_back_as_they_were(tmp_path: Path) -> None:
    arrays = {"weights/a": np.ones(1), "b": np.zeros(2)}
    assert list(mr.load(mr.save(arrays, tmp_path / "w.npz"))) == ["weights/a", "b"]
