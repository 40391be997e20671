"""Single paths, held against ordinary passes in which all other edges are cut."""

from __future__ import annotations

import json
import math
from itertools import product
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.errors import ContractError, UsageError
from minires.flow import paths as module
from minires.flow.paths import sample_paths
from minires.flow.spectrum import path_spectrum
from tests.flow.test_spectrum import Dense, Nested, Towers, along_one_path, batch, four_blocks
from tests.flow.test_trace import Oops, failing_loss, make_batch, make_model, picture, same


@pytest.mark.parametrize("kind", ["post-activation", "pre-activation", "bottleneck"])
def test_with_samples_enough_each_length_has_all_of_its_paths(kind: str) -> None:
    model = four_blocks(kind, "B")
    expected: dict[int, list[float]] = {k: [] for k in range(5)}
    for through in product([False, True], repeat=4):
        gradient = along_one_path(model, *batch(), through)
        expected[sum(through)].append(float(np.linalg.norm(gradient)))
    found = sample_paths(model, *batch(), samples=100)
    assert found.lengths == (0, 1, 2, 3, 4)
    assert found.counts == (1, 4, 6, 4, 1)
    for k, norms in zip(found.lengths, found.norms, strict=True):
        assert sorted(norms) == pytest.approx(sorted(expected[k]), rel=1e-9)
        assert found.means[k] == pytest.approx(np.mean(expected[k]))
        assert found.totals[k] == pytest.approx(np.sum(expected[k]))
    assert found.max_error < 1e-12


def test_the_two_paths_without_a_choice_are_components_of_the_spectrum() -> None:
    model = four_blocks("post-activation", "A")
    spectrum = path_spectrum(model, *batch())
    found = sample_paths(model, *batch(), lengths=[0, 4])
    assert [norms[0] for norms in found.norms] == pytest.approx(
        [spectrum.norms[0], spectrum.norms[4]]
    )


def test_paths_can_lead_to_any_block() -> None:
    model = four_blocks("post-activation", "A")
    spectrum = path_spectrum(model, *batch(), block=2)
    found = sample_paths(model, *batch(), block="3")
    assert (found.block, found.lengths, found.counts) == ("3", (0, 1, 2), (1, 2, 1))
    assert found.norms[2][0] == pytest.approx(spectrum.norms[2])


def test_a_plain_stack_has_one_path() -> None:
    model = mr.models.cifar_plain(14, width=2, in_channels=2, num_classes=5).to("float64")
    found = sample_paths(model, *batch())
    assert (found.lengths, found.counts) == ((6,), (1,))
    assert found.norms[0][0] == pytest.approx(path_spectrum(model, *batch()).norms[0])
    assert "The one path" in found.caption()


def test_the_seed_decides_which_paths() -> None:
    model = mr.models.cifar_resnet(32, width=2, in_channels=2, num_classes=5)
    x, y = batch()
    x = x.astype(np.float32)
    draws = [sample_paths(model, x, y, lengths=[5, 9], samples=3, seed=s).norms for s in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]
    assert [len(norms) for norms in draws[0]] == [3, 3]
    assert sample_paths(model, x, y, lengths=[5]).counts == (math.comb(15, 5),)


def test_any_number_of_paths_at_a_time_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = four_blocks("post-activation", "A")
    together = sample_paths(model, *batch()).norms
    monkeypatch.setattr(module, "AT_ONCE", 2)
    assert sample_paths(model, *batch()).norms == together


def test_a_pass_that_cuts_the_wrong_edge_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    model = four_blocks("post-activation", "A")
    along = module._along

    def other(value: Any, forks: Any, first: int, wanted: Any) -> Any:
        flipped = [frozenset(range(4)) - path for path in wanted]
        found = along(value, forks, first, flipped)
        return [(frozenset(range(4)) - path, gradient) for path, gradient in found]

    monkeypatch.setattr(module, "_along", other)
    assert sample_paths(model, *batch()).max_error > 0.1


class Faint(nn.ResidualBlock):
    def branch(self, u: Any) -> Any:
        return 0.01 * u


def test_gradients_beyond_the_smallest_numbers_of_float32_keep_their_digits() -> None:
    model = nn.Sequential(*(Faint() for _ in range(22)))
    x, target = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)
    found = sample_paths(model, x, target, lambda out, target: out.sum(), lengths=[0, 21, 22])
    assert found.means == pytest.approx((1.0, 1e-42, 1e-44), rel=1e-5)
    assert found.max_error < 1e-6


def test_bad_use_is_refused() -> None:
    model = four_blocks("post-activation", "A")
    with pytest.raises(UsageError, match="goes through 5 branches; there are paths through 0 to 4"):
        sample_paths(model, *batch(), lengths=[5])
    with pytest.raises(UsageError, match="samples must be at least 1"):
        sample_paths(model, *batch(), samples=0)
    nested = nn.Sequential(nn.Linear(6, 6), Nested(6))
    with pytest.raises(ContractError, match="a Dense runs inside the branch of another"):
        sample_paths(nested, np.ones((2, 6), np.float32), np.array([0, 1]))
    with pytest.raises(UsageError, match="lengths is empty"):
        sample_paths(model, *batch(), lengths=[])
    with pytest.raises(UsageError, match="samples must be"):
        sample_paths(model, *batch(), samples=2.5)


@pytest.mark.parametrize("kind", ["two towers", "second head", "long skip"])
def test_blocks_that_are_not_in_a_row_have_no_single_paths_to_draw(kind: str) -> None:
    model, x, y = Towers(kind), np.ones((2, 6), np.float32), np.array([0, 1])
    with pytest.raises(ContractError, match="do not stand in a row"):
        sample_paths(model, x, y)
    assert sample_paths(model, x, y, block=3).counts == (1, 1)


def test_the_caption_says_what_the_numbers_bear_out() -> None:
    draw = np.random.default_rng(0)

    class Restless(Dense):
        def branch(self, u: Any) -> Any:
            return super().branch(u) * float(draw.uniform(0.5, 2.0))

    mr.manual_seed(1)
    x, y = draw.standard_normal((4, 6)), draw.integers(0, 6, 4)
    found = sample_paths(nn.Sequential(Restless(6), Dense(6)).to("float64"), x, y)
    assert found.max_error > 1e-3
    assert "does not compute the same twice" in found.caption()
    still = nn.Sequential(Dense(6), Dense(6)).to("float64")
    nothing = sample_paths(still, x, y, lambda out, target: 0 * out.sum()).caption()
    assert "no gradient is left" in nothing
    assert "middle half" not in nothing


def test_the_plain_data_are_json_and_the_figure_is_drawn() -> None:
    found = sample_paths(four_blocks("post-activation", "A"), *batch(), samples=2)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["counts"] == [1, 4, 6, 4, 1]
    assert data["totals"] == list(found.totals)
    assert len(found.rows()[1]) == 5
    assert "Single paths to 1" in found.caption()
    assert len(found.plot().axes) == 3


def test_it_leaves_no_trace_also_when_it_fails() -> None:
    model = make_model()
    before = picture(model)
    sample_paths(model, *make_batch(), samples=2)
    same(before, picture(model))
    with pytest.raises(Oops):
        sample_paths(model, *make_batch(), loss=failing_loss)
    with pytest.raises(UsageError):
        sample_paths(model, *make_batch(), lengths=[9])
    same(before, picture(model))
