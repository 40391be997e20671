"""Lesions of the forward pass, held against networks that are put together by hand without them."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.errors import ContractError, ShapeError, UsageError
from minires.flow import removals
from minires.flow.removals import ForwardLesion, forward_lesion, kendall_tau
from tests.flow.test_ledger import Dense, Nested, build
from tests.flow.test_trace import Oops, failing_loss, make_batch, make_model, picture, same

FAMILIES: dict[str, dict[str, Any]] = {
    "shortcut A": {},
    "shortcut B": {"shortcut": "B"},
    "pre-activation": {"preactivation": True, "shortcut": "B"},
    "plain": {"residual": False},
    "plain pre-activation": {"residual": False, "preactivation": True},
}


def data(n: int = 24) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(4)
    return draw.standard_normal((n, 2, 8, 8)), draw.integers(0, 5, n)


def network(**options: Any) -> Any:
    return build(**{"depth": 14, "width": 2, "training": False, **options})


def padded(u: np.ndarray, channels: int) -> np.ndarray:
    """Shortcut A by hand."""
    u = u[:, :, ::2, ::2]
    return np.concatenate([u, np.zeros_like(u[:, : channels - u.shape[1]])], axis=1)


def by_hand(
    model: Any, x: np.ndarray, without: Sequence[int] = (), order: Sequence[int] | None = None
) -> np.ndarray:
    """Logits of a CIFAR network whose blocks are called here, or left out."""
    h = F.relu(model.bn1(model.conv1(mr.tensor(x))))
    blocks = model.blocks()
    for i in order or range(len(blocks)):
        block = blocks[i]
        if i not in without:
            h = block(h)
            continue
        u = block.pre(h)
        if block.shortcut is not None:
            u = block.shortcut(u)
        elif block.changes_shape:
            u = mr.tensor(padded(u.data, 2 * u.shape[1]))
        h = block.activation(u)
    if model.preactivation:
        h = F.relu(model.bn2(h))
    return model.fc(F.flatten(F.adaptive_avg_pool2d(h, 1), 1)).data  # type: ignore[no-any-return]


def judged(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Cross-entropy and error in percent."""
    logits = logits - logits.max(axis=1, keepdims=True)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    wrong = logits.argmax(axis=1) != labels
    return float(-log_p[np.arange(len(labels)), labels].mean()), 100.0 * float(wrong.mean())


def assert_as_by_hand(found: Any, model: Any, x: Any, y: Any, **how: Any) -> None:
    loss, error = judged(by_hand(model, x, **how), y)
    assert found.loss == pytest.approx(loss, rel=1e-10)
    assert found.error == pytest.approx(error)


@pytest.mark.parametrize("options", FAMILIES.values(), ids=FAMILIES)
def test_every_number_is_that_of_a_network_put_together_by_hand(options: dict[str, Any]) -> None:
    model = network(**options)
    x, y = data()
    found = forward_lesion(model, (x, y), drop=[2, 5], permute=[1, 4], draws=2, batch_size=10)
    names = [name for name, m in model.named_modules() if isinstance(m, nn.ResidualBlock)]
    assert_as_by_hand(found, model, x, y)
    assert (found.images, found.max_error) == (24, 0.0)
    assert [row.name for row in found.blocks] == names
    for i, row in enumerate(found.blocks):
        assert_as_by_hand(row, model, x, y, without=[i])
    assert [len(row.blocks) for row in found.sets] == [2, 2, 5, 5]
    for removed in found.sets:
        chosen = [names.index(name) for name in removed.blocks]
        assert chosen == sorted(chosen)
        assert_as_by_hand(removed, model, x, y, without=chosen)
    assert [row.swaps for row in found.orders] == [1, 1, 4, 4]
    for row in found.orders:
        order = [names.index(name) for name in row.order]
        assert_as_by_hand(row, model, x, y, order=order)
        assert row.tau == kendall_tau(order)
    assert len({row.loss for row in found.blocks}) > 4  # not all the same number


def test_what_is_handed_on_is_told_of() -> None:
    for options, expected in (
        ({"residual": False}, ["input", "input", "padded input", "input", "padded input", "input"]),
        ({"shortcut": "B"}, ["skip"] * 6),
    ):
        found = forward_lesion(network(**options), data(), drop=0, permute=0)
        assert [row.stand_in for row in found.blocks] == expected
        assert {row.kind for row in found.blocks} == {
            "residual" if "B" in str(options) else "plain"
        }


@pytest.mark.parametrize("size", [7, 9])
def test_images_of_odd_size_are_padded_to_what_the_stride_leaves(size: int) -> None:
    model = network(residual=False)
    x = np.random.default_rng(0).standard_normal((4, 2, size, size))
    found = forward_lesion(model, (x, np.zeros(4, int)), drop=0, permute=0)
    assert [row.stand_in for row in found.blocks].count("padded input") == 2
    assert_as_by_hand(found.blocks[2], model, x, np.zeros(4, int), without=[2])


def test_it_measures_in_evaluation_mode_and_the_mode_of_the_model_makes_no_difference() -> None:
    model = network()
    x, y = data()
    expected = forward_lesion(model, (x, y), drop=2, permute=2)
    assert expected == forward_lesion(model.train(), (x, y), drop=2, permute=2)
    assert model.training
    assert mr.train.evaluate(model, (x, y)) == (expected.loss, expected.error)


def test_float32_is_measured_as_it_is() -> None:
    x, y = data()
    found = forward_lesion(network(dtype="float32"), (x.astype(np.float32), y), drop=0, permute=0)
    expected = forward_lesion(network(), (x, y), drop=0, permute=0)
    assert found.max_error == 0.0
    for row, other in zip(found.blocks, expected.blocks, strict=True):
        assert row.loss == pytest.approx(other.loss, rel=1e-4)


# --- which sets and orders ---


def test_defaults_and_numbers_say_which_sizes() -> None:
    def sizes(**asked: Any) -> tuple[list[int], list[int]]:
        found = forward_lesion(network(), data(4), draws=1, **asked)
        return [len(row.blocks) for row in found.sets], [row.swaps for row in found.orders]

    assert sizes() == ([1, 2, 4], [1, 2])  # of 6 blocks, two pairs and one can be exchanged
    assert sizes(drop=3, permute=2) == ([1, 2, 3], [1, 2])
    assert sizes(drop=[6, 1], permute=(9,)) == ([6, 1], [9])
    assert sizes(drop=0, permute=[]) == ([], [])


def test_sets_are_random_different_and_depend_on_the_seed() -> None:
    def sets(seed: int, size: int = 3) -> list[tuple[str, ...]]:
        found = forward_lesion(network(), data(4), drop=[size], permute=0, draws=8, seed=seed)
        return [row.blocks for row in found.sets]

    assert sets(0) == sets(0) != sets(1)
    assert len(set(sets(0))) == len(sets(0)) > 4
    assert all(len(set(blocks)) == 3 for blocks in sets(0))
    assert len(sets(0, 6)) == 1  # there is but one set of all


def test_only_blocks_of_the_same_shapes_take_each_others_place() -> None:
    found = forward_lesion(network(depth=20), data(4), drop=0, permute=[12], draws=6)
    names = [row.name for row in found.blocks]
    orders = [row.order for row in found.orders]
    assert len(set(orders)) > 4
    for order in orders:
        assert sorted(order) == names
        assert [name[:6] for name in order] == [name[:6] for name in names]
        # The first block of a later stage changes the shapes, as no other does.
        assert (order[3], order[6]) == ("layer2.0", "layer3.0")


def test_kendalls_tau() -> None:
    assert kendall_tau(range(5)) == 1.0
    assert kendall_tau([4, 3, 2, 1, 0]) == -1.0
    assert kendall_tau([1, 0, 2, 3]) == pytest.approx(1 - 4 * 1 / 12)
    assert kendall_tau([2, 3, 0, 1]) == pytest.approx(1 - 4 * 4 / 12)
    assert kendall_tau([0]) == kendall_tau([]) == 1.0


def test_no_more_passes_are_run_than_there_are_different_lesions() -> None:
    model = network()
    calls: list[int] = []
    model.register_forward_hook(lambda module, inputs, out: calls.append(1))
    found = forward_lesion(model, data(), drop=[1, 2, 6], permute=[1, 2], draws=4, batch_size=12)
    several = {row.blocks for row in found.sets if len(row.blocks) > 1}
    orders = {row.order for row in found.orders} - {tuple(row.name for row in found.blocks)}
    # Two batches each: intact twice, 6 blocks, and sets of one are among those.
    assert len(calls) == 2 * (2 + 6 + len(several) + len(orders))
    for row in found.sets:
        if len(row.blocks) == 1:
            (alone,) = (one for one in found.blocks if one.name == row.blocks[0])
            assert (row.loss, row.error) == (alone.loss, alone.error)


# --- blocks of the user's own ---


class Narrow(nn.ResidualBlock):
    """A plain block from 6 to 3 numbers: nothing fits in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Linear(6, 3)
        self.shortcut = None  # type: ignore[method-assign, assignment]


def dense(*layers: nn.Module) -> tuple[nn.Module, tuple[np.ndarray, np.ndarray]]:
    mr.manual_seed(2)
    draw = np.random.default_rng(9)
    model = nn.Sequential(*layers).to("float64")
    return model, (draw.standard_normal((12, 6)), draw.integers(0, 3, 12))


def test_a_block_that_nothing_fits_in_place_of_stays_and_is_told_of() -> None:
    model, arrays = dense(Dense(6), Narrow())
    found = forward_lesion(model, arrays)
    first, narrow = found.blocks
    assert (narrow.stand_in, narrow.loss, narrow.error) == ("nothing fits", None, None)
    assert first.stand_in == "skip"
    assert {row.blocks for row in found.sets} == {("0",)}
    assert found.orders == ()
    assert found.rows()[1][1] == ["1", "plain", "nothing fits", None, None, None]
    only = forward_lesion(*dense(Narrow()))
    assert only.sets == ()
    assert "without" not in only.caption()


def test_inner_blocks_are_left_out_by_themselves_and_never_change_places_with_their_own() -> None:
    model, arrays = dense(Nested(6), Nested(6), Dense(6))
    found = forward_lesion(model, arrays, permute=[5], draws=6)
    names = [row.name for row in found.blocks]
    assert names == ["0", "0.inner", "0.beside", "1", "1.inner", "1.beside", "2"]
    families = {"0": "outer", "1": "outer", "2": "outer", "0.inner": "a", "0.beside": "a"}
    for row in found.orders:
        for place, runs in zip(names, row.order, strict=True):
            assert families.get(place, "b") == families.get(runs, "b")
    inner = model[0].inner  # type: ignore[index]
    inner.branch = lambda u: 0.0 * u
    expected = mr.train.evaluate(model, arrays)
    assert found.blocks[1].loss == pytest.approx(expected.loss, rel=1e-12)


def test_a_block_used_twice_is_left_out_twice_and_keeps_its_place() -> None:
    block = Dense(6)
    model, arrays = dense(block, nn.Linear(6, 6), block, Dense(6))
    found = forward_lesion(model, arrays)
    assert [row.name for row in found.blocks] == ["0", "3"]
    assert found.orders == ()
    x = F.relu(model[1](F.relu(mr.tensor(arrays[0]))))  # type: ignore[index]
    loss = F.cross_entropy(model[3](x), mr.tensor(arrays[1])).item()  # type: ignore[index]
    assert found.blocks[0].loss == pytest.approx(loss, rel=1e-12)


def test_blocks_that_the_forward_keeps_in_a_list_change_places_as_well() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = Dense(6), Dense(6)
            self.order = [self.one, self.other]

        def forward(self, x: Any) -> Any:
            for block in self.order:
                x = block(x)
            return x

    mr.manual_seed(0)
    model = Listed().to("float64")
    _, arrays = dense()
    found = forward_lesion(model, arrays, permute=[1], draws=1)
    assert found.orders[0].order == ("other", "one")
    model.order.reverse()
    assert found.orders[0].loss == mr.train.evaluate(model, arrays).loss != found.loss


# --- the check ---


def test_a_model_that_is_not_the_same_twice_is_told_of() -> None:
    class Restless(Dense):
        draw = np.random.default_rng(0)

        def branch(self, u: Any) -> Any:
            return super().branch(u) * float(self.draw.uniform(0.5, 2.0))

    found = forward_lesion(*dense(Restless(6)))
    assert found.max_error > 1e-3
    assert "the model does not give the same twice: off by" in found.caption()


def test_an_instrument_that_changes_what_it_looks_at_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    join = removals.Survey.join

    def wrong(self: Any, block: Any, skip: Any, branch: Any) -> Any:
        join(self, block, skip, branch)
        return skip, branch * 1.01

    monkeypatch.setattr(removals.Survey, "join", wrong)
    assert forward_lesion(network(), data()).max_error > 1e-4


def test_a_network_that_answers_nan_is_measured() -> None:
    model = network()
    model.fc.bias.data[...] = np.nan
    found = forward_lesion(model, data(4), drop=0, permute=0)
    assert math.isnan(found.loss)
    assert found.error == 100.0
    assert found.max_error == 0.0


# --- no trace ---


@pytest.mark.parametrize("nth", [1, 4, 12, 24])
def test_a_failure_half_way_leaves_everything_as_it_was(nth: int) -> None:
    class Fails(nn.ResidualBlock):
        calls: list[int] = []  # noqa: RUF012

        def branch(self, u: Any) -> Any:
            self.calls.append(1)
            self.train()
            if len(self.calls) == nth:
                raise Oops
            return u * mr.randn(*u.shape)

    model = nn.Sequential(Fails(), Fails(), nn.Flatten(), nn.Linear(64, 3))
    before = picture(model)
    with pytest.raises(Oops):
        forward_lesion(model, make_batch(), batch_size=2, permute=[1], draws=1)
    assert len(Fails.calls) == nth
    same(before, picture(model))
    with pytest.raises(Oops):
        forward_lesion(make_model(), make_batch(), loss=failing_loss)


# --- progress ---


def progressed(monkeypatch: pytest.MonkeyPatch, file: Any, seconds: float) -> ForwardLesion:
    """With a clock on which each look takes so many seconds."""
    now = iter(np.arange(0, 1000, seconds).tolist())
    monkeypatch.setattr(removals.time, "monotonic", lambda: next(now))
    return forward_lesion(network(), data(4), drop=0, permute=0, progress=file)


def test_progress_is_written_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    quick, slow = io.StringIO(), io.StringIO()
    progressed(monkeypatch, quick, 0.01)
    assert quick.getvalue() == ""
    progressed(monkeypatch, slow, 1.1)
    assert slow.getvalue().splitlines()[0] == "forward_lesion: 2 of 6 runs"
    assert 2 <= len(slow.getvalue().splitlines()) <= 5


def test_an_output_that_is_closed_does_not_end_the_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    assert len(progressed(monkeypatch, Closed(), 5.0).blocks) == 6


# --- the result, and bad use ---


def test_the_result_is_plain_data_a_table_and_sentences() -> None:
    found = forward_lesion(network(), data(), drop=[1, 3], permute=[2], draws=2)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(plain) == {"images", "loss", "error", "blocks", "sets", "orders", "max_error"}
    assert set(plain["blocks"][0]) == {"name", "kind", "stand_in", "loss", "error"}
    assert set(plain["sets"][0]) == {"blocks", "loss", "error"}
    assert set(plain["orders"][0]) == {"swaps", "order", "tau", "loss", "error"}
    headers, rows = found.rows()
    assert len(rows) == 6
    assert {len(row) for row in rows} == {len(headers)}
    errors = [row.error for row in found.blocks if row.error is not None]
    worst = max(found.blocks, key=lambda row: row.error or 0.0).name
    three = np.mean([row.error for row in found.sets if len(row.blocks) == 3])
    far = min(found.orders, key=lambda row: row.tau)
    assert found.caption() == (
        f"The error on 24 images is {found.error:.1f}% intact; without one of 6 blocks it is "
        f"{min(errors):.1f}% to {max(errors):.1f}% (median {np.median(errors):.1f}%, worst "
        f"{worst}); without 3 at random, {three:.1f}% on average; in the order farthest from the "
        f"original (tau {far.tau:.2f}), {far.error:.1f}%."
    )
    lines = found.details()
    assert lines[0].startswith("Intact: error ")
    assert [line.split(":")[0] for line in lines[1:]] == [
        "Without 1 block at random",
        "Without 3 blocks at random",
        "After 2 random swaps of blocks",
    ]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: forward_lesion([], data()), ContractError, "forward_lesion: a list is no model"),
        (lambda: forward_lesion(network(), None), ContractError, "needs the labels of the batch"),
        (
            lambda: forward_lesion(nn.Linear(6, 3).to("float64"), dense()[1]),
            ContractError,
            "forward_lesion: no residual block ran in Linear",
        ),
        (
            lambda: forward_lesion(network(), mr.data.load_digits()),
            UsageError,
            r"takes the pair \(images, labels\), not a Dataset; of a data set give one part",
        ),
        (lambda: forward_lesion(network(), (data()[0], [1])), ShapeError, "must have one length"),
        (
            lambda: forward_lesion(network(), data(), drop=7),
            UsageError,
            "drop asks for 7, but .* 6",
        ),
        (lambda: forward_lesion(network(), data(), drop=[1.5]), UsageError, "drop asks for 1.5"),
        (lambda: forward_lesion(network(), data(), drop=-2), UsageError, "drop asks for -2"),
        (
            lambda: forward_lesion(network(), data(), permute=[-1]),
            UsageError,
            "permute asks for -1",
        ),
        (
            lambda: forward_lesion(network(), data(), draws=0),
            UsageError,
            "draws must be at least 1",
        ),
        (lambda: forward_lesion(network(), data(), seed=-1), UsageError, "forward_lesion: a seed"),
        (
            lambda: forward_lesion(*dense(Narrow()), permute=1),
            UsageError,
            "permute asks for 1, but",
        ),
    ],
)
def test_bad_use_is_refused(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
