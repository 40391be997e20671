"""Two networks side by side: the same numbers as apart, in one table and one figure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.errors import ContractError, ShapeError, UsageError
from minires.flow import ledger
from minires.flow.comparison import Comparison, compare
from minires.flow.contracts import check_model
from minires.result import Result
from tests.flow.test_ledger import Page
from tests.flow.test_trace import Oops, failing_loss, make_batch, make_model, picture, same


def build(depth: int = 8, **options: Any) -> Any:
    mr.manual_seed(0)
    return mr.models.cifar_resnet(depth, width=2, in_channels=1, num_classes=3, **options)


def with_other_names() -> nn.Module:
    model = build()
    return nn.Sequential(model.conv1, model.layer1, nn.Flatten(), nn.Linear(128, 3))


@pytest.fixture(scope="module")
def found() -> Comparison:
    return compare(build(), build(residual=False), *make_batch())


def test_the_results_are_those_of_the_instrument_on_each_model(found: Comparison) -> None:
    alone = [ledger(model, *make_batch()) for model in (build(), build(residual=False))]
    assert [r.to_dict() for r in found.results] == [r.to_dict() for r in alone]
    assert found.names == ("residual-8", "plain-8")
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["instrument"] == "ledger"
    assert data["names"] == ["residual-8", "plain-8"]
    assert data["results"] == [r.to_dict() for r in alone]


def test_two_results_give_the_same_as_two_models(found: Comparison) -> None:
    other = compare(*found.results, names=found.names)
    assert other.to_dict() == found.to_dict()
    assert other.rows() == found.rows()
    assert compare(*found.results).names == ("a", "b")


def test_blocks_of_one_name_share_a_row_with_a_column_for_each_network(found: Comparison) -> None:
    headers, rows = found.rows()
    one, other = (result.rows() for result in found.results)
    assert headers[:3] == ["block", "skip |g|, residual-8", "skip |g|, plain-8"]
    assert [row[0] for row in rows] == ["layer1.0", "layer2.0", "layer3.0"]
    for row, left, right in zip(rows, one[1], other[1], strict=True):
        assert row[1::2] == left[1:]
        assert row[2::2] == right[1:]


def test_a_block_that_only_one_network_has_leaves_the_cells_of_the_other_empty() -> None:
    headers, rows = compare(build(8), build(14), *make_batch()).rows()
    cells = {row[0]: row[1:] for row in rows}
    assert len(cells) == len(rows) == 6
    assert None not in cells["layer1.0"]
    assert set(cells["layer1.1"][0::2]) == {None}
    assert None not in cells["layer1.1"][1::2]
    assert all(len(row) == len(headers) for row in rows)


def test_blocks_of_other_names_stand_below_each_other_with_their_network() -> None:
    model = with_other_names()
    headers, rows = compare(model, build(), *make_batch(), names=("mine", "family")).rows()
    assert headers == ["network", *ledger(model, *make_batch()).rows()[0]]
    assert [row[:2] for row in rows] == [
        ["mine", "1.0"],
        ["family", "layer1.0"],
        ["family", "layer2.0"],
        ["family", "layer3.0"],
    ]
    assert rows[0][1:] == ledger(model, *make_batch()).rows()[1][0]


def test_names_that_are_not_unique_are_not_merged() -> None:
    class Plus(nn.ResidualBlock):
        def branch(self, u: Any) -> Any:
            return u * 0.5

    mr.manual_seed(0)
    block = Plus()
    model = nn.Sequential(nn.Flatten(), block, block, nn.Linear(64, 3))
    headers, rows = compare(model, model, *make_batch()).rows()
    assert headers[0] == "network"
    assert [row[1] for row in rows] == ["1"] * 4


@dataclass(frozen=True)
class Odd(Result):
    """A result whose columns depend on what it is of."""

    headers: tuple[str, ...]

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        return list(self.headers), [list(range(len(self.headers)))]


def test_tables_of_different_columns_keep_the_columns_of_both() -> None:
    headers, rows = compare(Odd(("k", "x")), Odd(("k", "y"))).rows()
    assert headers == ["network", "k", "x", "y"]
    assert rows == [["a", 0, 1, None], ["b", 0, None, 1]]


def test_the_caption_says_how_the_gradient_grows_in_each(found: Comparison) -> None:
    for name, result in zip(found.names, found.results, strict=True):
        rms = [block["grad_rms"] for block in result.to_dict()["blocks"]]
        assert f"is multiplied by {rms[0] / rms[-1]:.3g} in {name}" in found.caption()
        assert f"{name}: {result.caption()}" in found.caption()


def test_the_caption_makes_no_claim_where_a_gradient_is_not_finite() -> None:
    model = build()
    model.fc.weight.data[...] = np.nan
    with np.errstate(invalid="ignore"):
        broken = compare(model, build(), *make_batch())
    assert "multiplied" not in broken.caption()
    assert Page(broken._repr_html_()).open == []


def test_any_instrument_can_be_compared_and_gets_its_options() -> None:
    seen = []

    def loss(output: Any, target: Any) -> Any:
        seen.append(output.shape)
        return (output * output).mean()

    found = compare(build(), build(14), *make_batch(), instrument=check_model, loss=loss)
    assert found.instrument == "contracts"
    assert len(seen) == 4
    assert [type(r).__name__ for r in found.results] == ["ModelCheck"] * 2
    assert [line.split(":")[0] for line in found.details()] == []


def test_details_of_both_are_told_with_their_network() -> None:
    model = build()
    model.extra = nn.Linear(2, 2)
    found = compare(model, build(), *make_batch(), instrument=check_model, names=("sick", "sound"))
    assert [line.split(":")[0] for line in found.details()] == ["sick"]


def test_models_that_say_the_same_of_themselves_are_told_apart() -> None:
    assert compare(build(), build(), *make_batch()).names == ("residual-8 (a)", "residual-8 (b)")
    model = with_other_names()
    assert compare(model, build(), *make_batch()).names == ("Sequential", "residual-8")


@pytest.mark.parametrize("instrument", [ledger, check_model])
def test_a_notebook_shows_figure_and_numbers_of_both(instrument: Any) -> None:
    found = compare(build(), build(residual=False), *make_batch(), instrument=instrument)
    page = Page(found._repr_html_())
    assert page.open == []
    assert page.labels == [found.caption()]
    assert len(set(page.ids)) == len(page.ids) > 0
    assert page.references <= set(page.ids)


def test_a_comparison_leaves_both_models_as_they_were() -> None:
    one, other = make_model(), make_model()
    before = picture(one), picture(other)
    compare(one, other, *make_batch())
    with pytest.raises(Oops):
        compare(one, other, *make_batch(), loss=failing_loss)
    same(before[0], picture(one))
    same(before[1], picture(other))


def test_bad_use_is_told_with_its_mend(found: Comparison) -> None:
    x, y = make_batch()
    result, model = found.results[0], build()
    with pytest.raises(ContractError, match="a Ledger and a Odd are results of different"):
        compare(result, Odd(("k",)))
    with pytest.raises(ContractError, match=r"a Ledger is no model.*two results"):
        compare(result, model, x, y)
    with pytest.raises(ContractError, match=r"need a batch.*compare\(a, b, x, target\)"):
        compare(model, model)
    with pytest.raises(ContractError, match="ledger: needs the labels"):
        compare(model, model, x)
    with pytest.raises(ContractError, match=r"a str is no instrument.*instrument=mr\.flow\.ledger"):
        compare(model, model, x, y, instrument="ledger")  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="gave a dict, and not the result of an instrument"):
        compare(model, model, x, y, instrument=lambda *given: {})
    with pytest.raises(UsageError, match="results already, so nothing is run"):
        compare(result, result, x, y)
    for names in (("one",), ("same", "same"), "ab"):
        with pytest.raises(UsageError, match="two different ones"):
            compare(result, result, names=names)
    with pytest.raises(ShapeError, match="ledger: CifarResNet"):
        compare(model, model, np.zeros((4, 3, 8, 8), np.float32), y)
