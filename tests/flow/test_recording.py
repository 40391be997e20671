"""The log of a recorder: what it holds, what is on disk, and two of them beside each other."""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minires.errors import DataError, UsageError
from minires.flow.recording import BLOCK_COLUMNS, LAYER_COLUMNS, LoggedStep, Recording

Numbers = dict[str, float | None]


def logged(step: int, blocks: str = "ab", layers: str = "xyz", scale: float = 1.0) -> LoggedStep:
    """A step with numbers that are all different; block a is a plain one."""

    def row(columns: tuple[str, ...], place: int) -> Numbers:
        return {c: scale * (100 * step + 10 * place + i) for i, c in enumerate(columns)}

    return LoggedStep(
        step=step,
        loss=scale / step,
        blocks=[
            (
                name,
                "plain" if name == "a" else "residual",
                row(BLOCK_COLUMNS, k) | ({"share": None, "skip_norm": None} if name == "a" else {}),
            )
            for k, name in enumerate(blocks)
        ],
        layers=[(name, row(LAYER_COLUMNS, k)) for k, name in enumerate(layers)],
        errors=[1e-7 * step],
    )


def recording(*steps: int, **options: Any) -> Recording:
    return Recording.of([logged(step, **options) for step in steps])


# --- what it holds ---


def test_the_dictionary_has_its_fixed_form() -> None:
    data = recording(1, 50).to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["steps"] == [1, 50]
    assert data["loss"] == [1.0, 1 / 50]
    assert list(data["blocks"]) == ["name", "kind", *BLOCK_COLUMNS]
    assert list(data["layers"]) == ["name", *LAYER_COLUMNS]
    blocks = "skip_norm branch_norm share cosine grad_norm grad_rms forward_ratio"
    assert " ".join(BLOCK_COLUMNS) == blocks
    assert " ".join(LAYER_COLUMNS) == "mean std dead grad_norm weight_norm update_ratio"
    assert data["blocks"]["name"] == ["a", "b"]
    assert data["blocks"]["kind"] == ["plain", "residual"]
    assert data["blocks"]["share"] == [[None, 112.0], [None, 5012.0]]
    assert data["blocks"]["branch_norm"] == [[101.0, 111.0], [5001.0, 5011.0]]
    assert data["layers"]["std"] == [[101.0, 111.0, 121.0], [5001.0, 5011.0, 5021.0]]
    assert data["max_error"] == pytest.approx(5e-6)


def test_names_stand_in_the_order_of_the_passes_though_each_lacks_some() -> None:
    log = Recording.of([logged(1, "acd"), logged(2, "abd"), logged(3, "eab"), logged(4, "aa")])
    assert log.block_names == ("e", "a", "a", "b", "c", "d")
    seen = ~np.isnan(log.blocks["branch_norm"])
    assert ["".join(np.array(log.block_names)[row]) for row in seen] == ["acd", "abd", "eab", "aa"]


def test_where_the_passes_do_not_tell_names_stand_in_the_order_of_the_model() -> None:
    steps = [logged(1, "aed"), logged(2, "acd"), logged(3, "abd"), logged(4, "azd")]
    assert Recording.of(steps).block_names == tuple("azbced")
    assert Recording.of(steps, "abcde").block_names == tuple("azbced")
    steps.reverse()
    assert Recording.of(steps).block_names == tuple("aecbzd")
    assert Recording.of(steps, "abcde").block_names == tuple("azbced")


def test_the_table_has_a_row_a_step() -> None:
    headers, rows = recording(1, 50).rows()
    assert headers == ["step", "loss", "first block |g|", "last block |g|", "mean skip share"]
    assert rows == [[1, 1.0, 104.0, 114.0, 112.0], [50, 0.02, 5004.0, 5014.0, 5012.0]]
    assert recording(1, 50).table().splitlines()[2].split() == ["1", "1", "104", "114", "112"]


def test_the_caption_is_made_of_the_first_and_last_numbers() -> None:
    text = recording(1, 7, 50).caption()
    assert text.startswith("3 steps from 1 to 50: the loss goes from 1 to 0.02; ")
    assert "the gradient at the first block's input goes from 104 to 5e+03" in text
    assert "within 5e-06 of its square" in text
    assert recording(4).caption().startswith("step 4: the loss is 0.25; ")
    assert Recording.of([]).caption() == "Nothing was recorded."


def test_a_failed_check_and_missing_numbers_are_said() -> None:
    step = LoggedStep(1, None, [("a", "plain", {})], [], [0.5])
    log = Recording.of([step])
    assert log.caption() == (
        "step 1: skip + branch is not the whole gradient at every fork: something that the model "
        "does not return reads it too, or it is not finite."
    )
    assert log.to_dict()["loss"] == [None]
    assert log.rows()[1] == [[1, None, None, None, None]]
    assert math.isnan(Recording.of([LoggedStep(1, 1.0, [], [], [0.0, math.nan])]).max_error)


def test_it_draws_itself() -> None:
    assert "Loss" in recording(1, 50).plot().alt
    assert "<svg" in recording(1, 50)._repr_html_()
    assert Recording.of([]).plot().alt


# --- on disk ---


@pytest.mark.parametrize("steps", [(1, 50, 100), (7,), ()])
def test_what_is_saved_is_loaded(steps: tuple[int, ...], tmp_path: Path) -> None:
    log = recording(*steps)
    path = log.save(tmp_path / "run.npz")
    found = Recording.load(str(path))
    assert found.to_dict() == log.to_dict()
    assert found.steps == log.steps
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.npz"]


def test_infinities_and_gaps_survive_the_disk(tmp_path: Path) -> None:
    step = logged(3)
    step.blocks[1][2]["grad_norm"] = math.inf
    log = Recording.of([step])
    found = Recording.load(log.save(tmp_path / "run.npz"))
    assert found.to_dict()["blocks"]["grad_norm"] == [[304.0, math.inf]]
    assert found.to_dict()["blocks"]["share"] == [[None, 312.0]]


def test_the_file_is_read_by_numpy_alone_without_pickle(tmp_path: Path) -> None:
    recording(1, 50).save(tmp_path / "run.npz")
    with np.load(tmp_path / "run.npz", allow_pickle=False) as file:
        assert str(file["format"]) == "minires recording 1"
        assert file["blocks.grad_norm"].shape == (2, 2)
        assert file["layer_names"].tolist() == ["x", "y", "z"]


def test_it_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recording(1).save(tmp_path / "run.npz")
    before = path.read_bytes()

    def fails(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fails)
        with pytest.raises(UsageError, match=r"cannot write .*No space left"):
            recording(1, 2, 3).save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["run.npz"]
    with pytest.raises(UsageError, match="cannot write"):
        recording(1).save(path / "run.npz")


def changed(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    np.savez_compressed(path, **arrays)


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("its format is 'minires recording 9'", lambda a: a.update(format="minires recording 9")),
        ("it holds other arrays", lambda a: a.pop("format")),
        ("it has no steps", lambda a: a.pop("steps")),
        ("it has no blocks.share", lambda a: a.pop("blocks.share")),
        ("it has no layers.dead", lambda a: a.pop("layers.dead")),
        ("loss is", lambda a: a.update(loss=a["loss"][1:])),
        ("loss is int64", lambda a: a.update(loss=np.array([1, 2]))),
        ("blocks.share is", lambda a: a.update({"blocks.share": a["blocks.share"].T[:1]})),
        ("layer_names is", lambda a: a.update(layer_names=np.arange(3))),
        ("its steps do not rise", lambda a: a.update(steps=np.array([50, 1]))),
        ("its steps do not rise", lambda a: a.update(steps=np.array([0, 1]))),
        ("it is damaged", lambda a: a.update(loss=np.array([None, "x"], object))),
    ],
)
def test_another_file_is_refused_with_the_reason(
    reason: str, change: Callable[[dict[str, Any]], Any], tmp_path: Path
) -> None:
    path = recording(1, 50).save(tmp_path / "run.npz")
    changed(path, change)
    with pytest.raises(DataError, match=f"run.npz' is not a recording .*{reason}"):
        Recording.load(path)


def test_damaged_and_missing_files_are_refused_with_the_reason(tmp_path: Path) -> None:
    path = recording(1, 50).save(tmp_path / "run.npz")
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:  # in the middle of the numbers of an array
        info = archive.getinfo("blocks.share.npy")
    inside = info.header_offset + 30 + len(info.filename) + info.compress_size // 2
    damages = {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "text": b"hello",
        "pickle": b"\x80\x04N.",
        "bits": whole[:inside] + b"\xff\xff\xff" + whole[inside + 3 :],
    }
    for name, content in damages.items():
        path.write_bytes(content)
        with pytest.raises(DataError, match="is not a recording that can be read"):
            Recording.load(path)
        assert name
    np.save(tmp_path / "one.npy", np.ones(3))
    for other, reason in (("one.npy", "no .npz"), ("gone.npz", "there is no file")):
        with pytest.raises(DataError, match=reason):
            Recording.load(tmp_path / other)
    with pytest.raises(DataError):
        Recording.load(tmp_path)


# --- two of them ---


def test_a_recording_differs_from_itself_in_nothing() -> None:
    found = recording(1, 50).compare(recording(1, 50))
    assert found.caption() == "2 steps in common: every number is the same."
    assert {change.difference for change in found.changes} == {0.0}
    assert found.only_here == found.only_there == found.unmatched == ()


def test_the_largest_difference_of_each_quantity_is_found() -> None:
    one, other = recording(1, 50, 100), recording(1, 50, 150)
    other.blocks["grad_norm"][1, 1] *= 2.0
    other.layers["std"][0, 2] *= 1.01
    other.loss[1] = -one.loss[1]
    found = one.compare(other)
    assert found.steps == (1, 50)
    assert (found.only_here, found.only_there) == ((100,), (150,))
    by_name = {change.quantity: change for change in found.changes}
    assert vars(by_name["blocks.grad_norm"]) == {
        "quantity": "blocks.grad_norm",
        "difference": 0.5,
        "step": 50,
        "where": "b",
        "here": 5014.0,
        "there": 10028.0,
        "one_sided": 0,
    }
    assert by_name["layers.std"].where == "z"
    assert by_name["layers.std"].difference == pytest.approx(0.01 / 1.01)
    assert by_name["loss"].difference == 2.0
    assert by_name["blocks.cosine"].difference == 0.0
    assert found.largest is by_name["loss"]
    assert found.caption().endswith("the largest relative difference is 2, in loss at step 50.")
    data = found.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert len(found.table().splitlines()) == 2 + len(found.changes)
    assert "<table>" in found._repr_html_()
    assert str(found).startswith(found.caption())


def test_equal_zeros_and_infinities_are_the_same() -> None:
    one, other = recording(1, 2), recording(1, 2)
    for log in (one, other):
        log.layers["dead"][:] = 0.0
        log.blocks["grad_norm"][0, 0] = math.inf
    assert {change.difference for change in one.compare(other).changes} == {0.0}


def test_numbers_and_names_that_one_alone_has_are_counted() -> None:
    one, other = recording(1, 2, blocks="ab"), recording(1, 2, blocks="bc", layers="xy")
    other.layers["dead"][:, 1] = np.nan
    other.blocks["cosine"][:, 0] = np.nan
    one.loss[0] = math.inf
    found = one.compare(other)
    assert found.unmatched == ("a", "c", "z")
    by_name = {change.quantity: change for change in found.changes}
    assert by_name["layers.dead"].one_sided == 2
    assert by_name["blocks.cosine"].difference is None
    assert by_name["loss"].difference == math.inf
    assert "3 blocks and layers that one alone has, 4 numbers that one alone has" in found.caption()


def test_recordings_without_a_common_step_are_told_apart_from_equal_ones() -> None:
    found = recording(1).compare(recording(2))
    assert found.caption() == "The two recordings have no step in common."
    assert found.largest is None
    with pytest.raises(UsageError, match="takes another recording, not a str"):
        recording(1).compare("run.npz")  # type: ignore[arg-type]
