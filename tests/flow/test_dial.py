"""The dial, held against the plain network, the network itself, and training by hand."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn, rng
from minires.errors import ContractError, ShapeError, UsageError
from minires.flow.dial import DialReading, dial
from minires.models import twin
from tests.flow.test_ledger import Dense, build
from tests.flow.test_trace import Oops, failing_loss, make_batch, make_model, picture, same


def network(**options: Any) -> Any:
    return build(**{"depth": 8, "width": 2, **options})


def data(n: int = 20) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(4)
    return draw.standard_normal((n, 2, 8, 8)), draw.integers(0, 5, n)


def assert_as_measured_by_hand(found: DialReading, net: Any, arrays: Any, size: int) -> None:
    """Loss and error over batches of ``size``, gradients of the first; ``net`` is spoilt."""
    x, y = arrays
    losses, wrong = [], 0
    statistics = net.state_dict()
    with mr.no_grad():
        for i in range(0, len(y), size):
            net.load_state_dict(statistics)
            out = net(mr.tensor(x[i : i + size]))
            losses.append(F.cross_entropy(out, mr.tensor(y[i : i + size])).item() * len(out))
            wrong += int((out.data.argmax(axis=1) != y[i : i + size]).sum())
    assert found.loss == pytest.approx(sum(losses) / len(y), rel=1e-12)
    assert found.error == pytest.approx(100 * wrong / len(y))
    net.load_state_dict(statistics)
    inputs: list[mr.Tensor] = []
    for block in net.blocks():
        block.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    loss = F.cross_entropy(net(mr.tensor(x[:size])), mr.tensor(y[:size]))
    grads = [g.data for g in mr.grad(loss, inputs)]
    assert found.first_norm == pytest.approx(np.linalg.norm(grads[0]), rel=1e-12)
    assert found.last_norm == pytest.approx(np.linalg.norm(grads[-1]), rel=1e-12)
    rms = [np.sqrt((g**2).mean()) for g in grads]
    assert found.grad_rms == pytest.approx(rms, rel=1e-12)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("options", [{}, {"preactivation": True}, {"norm": None}], ids=str)
def test_each_reading_is_that_of_the_network_with_its_skips_scaled(
    options: dict[str, Any], training: bool
) -> None:
    found = dial(network(training=training, **options), data(), (0, 0.5, 1), batch_size=8)
    assert found.mode == ("training" if training else "evaluation")
    for reading in found.before:
        net = network(training=training, **options)
        for block in net.blocks():
            block.skip_scale = reading.alpha
        assert_as_measured_by_hand(reading, net, data(), 8)
    assert found.after == ()


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_at_zero_it_reads_the_plain_network_and_at_one_the_network_itself(training: bool) -> None:
    model = network(training=training)
    found = dial(model, data(), (1, 0), batch_size=8)
    assert found.max_error == 0.0
    plain = network(training=training, residual=False, seed=3)
    plain.load_state_dict(model.state_dict())
    assert_as_measured_by_hand(found.before[1], plain, data(), 8)
    assert_as_measured_by_hand(found.before[0], model, data(), 8)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_training_starts_from_the_same_weights_and_sees_the_same_batches(training: bool) -> None:
    model = network(training=training)
    options = {"lr": 0.05, "momentum": 0.5, "weight_decay": 1e-3}
    found = dial(model, data(), (0.25, 1), train_epochs=2, batch_size=8, seed=3, **options)
    assert found.train_epochs == 2
    for reading in found.after:
        net = twin(network(training=training), reading.alpha)
        loader = mr.data.DataLoader(data(), batch_size=8, shuffle=True, seed=3)
        mr.train.fit(net, loader, mr.optim.SGD(net.parameters(), **options), epochs=2)
        assert_as_measured_by_hand(reading, net.train(training), data(), 8)
    assert [reading.alpha for reading in found.after] == [0.25, 1.0]
    assert found.before == dial(model, data(), (0.25, 1), batch_size=8).before


def test_the_order_of_the_batches_depends_on_the_seed_alone() -> None:
    def after(seed: int) -> tuple[DialReading, ...]:
        mr.manual_seed(np.random.default_rng().integers(1000))
        return dial(network(), data(), (1,), train_epochs=1, batch_size=8, seed=seed).after

    assert after(0) == after(0) != after(1)


def test_dropout_is_drawn_alike_at_each_setting_and_the_generator_is_put_back() -> None:
    class Dropping(Dense):
        def branch(self, u: Any) -> Any:
            return F.dropout(super().branch(u), 0.5, training=self.training)

    mr.manual_seed(2)
    model = nn.Sequential(Dropping(6), Dropping(6)).to("float64")
    draw = np.random.default_rng(0)
    arrays = draw.standard_normal((12, 6)), draw.integers(0, 6, 12)
    state = rng.get_state()
    found = dial(model, arrays, (1, 1), train_epochs=1, batch_size=4)
    assert rng.get_state() == state
    assert found.after[0] == found.after[1]
    assert found.max_error == 0.0


def test_a_data_set_has_its_test_part_measured_too() -> None:
    full = mr.data.load_digits()
    (x, y), (u, v) = full.batch(20), (full.test_images[:9], full.test_labels[:9])
    small = mr.data.Dataset("small", x, y, u, v, full.classes, full.mean, full.std)
    model = network(in_channels=1, num_classes=10, training=False, dtype="float32")
    found = dial(model, small, (1,), train_epochs=1, batch_size=16)
    (reading,) = found.before
    assert (reading.test_loss, reading.test_error) == mr.train.evaluate(model, small.test)
    assert (reading.loss, reading.error) == mr.train.evaluate(model, small.train, batch_size=16)
    assert found.after[0].test_loss != reading.test_loss
    assert found.images == 20
    pair = dial(model, small.train, (1,), batch_size=16)
    assert (pair.before[0].test_loss, pair.before[0].test_error) == (None, None)


def test_a_batch_larger_than_the_data_is_all_of_it() -> None:
    found = dial(network(), data(6), (1,), train_epochs=1)
    assert found.before == dial(network(), data(6), (1,), batch_size=6).before


def test_blocks_of_the_users_own_and_names() -> None:
    mr.manual_seed(2)
    model = nn.Sequential(Dense(6), nn.Linear(6, 6), Dense(6, 0.5)).to("float64")
    model[0].eval()
    draw = np.random.default_rng(0)
    found = dial(model, (draw.standard_normal((5, 6)), draw.integers(0, 6, 5)), (0, 1))
    assert found.blocks == ("0", "2")
    assert found.mode == "mixed"
    assert found.before[0].first_norm < found.before[1].first_norm


def test_what_needs_no_gradient_is_not_recorded() -> None:
    recorded: list[bool] = []

    def loss(output: Any, target: Any) -> Any:
        recorded.append(output.requires_grad)
        return F.cross_entropy(output, target)

    dial(network(), data(), (0, 1), batch_size=10, loss=loss)
    # The check; then, for each setting, two batches for the loss and one for the gradient.
    assert recorded == [True, True] + 2 * [False, False, True]


def test_training_that_diverges_is_measured_without_a_warning() -> None:
    found = dial(network(norm=None), data(), (1,), train_epochs=3, batch_size=4, lr=1e6)
    assert not np.isfinite(found.after[0].loss)
    assert found.after[0].error > 50


def test_a_twin_that_is_not_the_network_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("minires.flow.dial")
    monkeypatch.setattr(module, "twin", lambda model, alpha: twin(model, alpha * 1.001))
    found = dial(network(), data(), (0, 1))
    assert found.max_error > 1e-5
    assert "; but at 1 it is off the network by" in found.caption()


# --- no trace ---


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 6, 7])
def test_a_failure_half_way_leaves_everything_as_it_was(nth: int) -> None:
    model = make_model()
    calls: list[int] = []

    def loss(output: Any, target: Any) -> Any:
        calls.append(1)
        if len(calls) == nth:
            mr.randn(3)
            raise Oops
        return F.cross_entropy(output, target)

    before = picture(model)
    with pytest.raises(Oops):
        dial(model, make_batch(), (0, 1), train_epochs=2, loss=loss)
    assert len(calls) == nth
    same(before, picture(model))
    with pytest.raises(Oops):
        dial(model, make_batch(), loss=failing_loss)
    same(before, picture(model))


# --- the result, and bad use ---


def test_the_result_is_plain_data_a_table_and_a_sentence() -> None:
    found = dial(network(), data(), (0.5, 0, 1), train_epochs=1, batch_size=10)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(plain) == {
        "mode", "images", "train_epochs", "blocks", "before", "after", "max_error",
    }  # fmt: skip
    assert set(plain["before"][0]) == {
        "alpha", "loss", "error", "test_loss", "test_error", "first_norm", "last_norm", "grad_rms",
    }  # fmt: skip
    assert [len(reading["grad_rms"]) for reading in plain["after"]] == [3, 3, 3]
    headers, rows = found.rows()
    assert [(row[0], row[1]) for row in rows] == [
        ("0.5", 0), ("0", 0), ("1", 0), ("0.5", 1), ("0", 1), ("1", 1),
    ]  # fmt: skip
    assert {len(row) for row in rows} == {len(headers)}
    _, low, high = found.before
    assert found.caption() == (
        f"From alpha 1 to 0, with the same weights, the loss goes from {high.loss:.3g} to "
        f"{low.loss:.3g}, the error from {high.error:.1f}% to {low.error:.1f}%, and the gradient "
        f"at the first block from {high.first_norm:.2g} to {low.first_norm:.2g} (20 images, "
        f"training mode); after 1 epoch of training each, the error is "
        f"{found.after[2].error:.1f}% at 1 and {found.after[1].error:.1f}% at 0."
    )


class Learned(Dense):
    def __init__(self) -> None:
        super().__init__(6)
        self.skip_scale = nn.Parameter(mr.ones(1))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: dial([], data()), ContractError, "dial: a list is no model"),
        (lambda: dial(network(), None), ContractError, "dial: needs the labels"),
        (
            lambda: dial(nn.Sequential(nn.Flatten(), nn.Linear(128, 5)).to("float64"), data()),
            ContractError,
            "dial: no residual block ran in Sequential",
        ),
        (
            lambda: dial(Learned(), (np.ones((2, 6), np.float32), np.array([0, 1]))),
            ContractError,
            "the skip_scale of Learned is learned",
        ),
        (
            lambda: dial(network(), data(), loss=lambda output, target: output),
            ShapeError,
            "dial: the loss must be a single number",
        ),
        (lambda: dial(network(), data()[0]), UsageError, "dial: data must be a pair .* a ndarray"),
        (lambda: dial(network(), (data()[0], [1])), ShapeError, "must have one length"),
        (lambda: dial(network(), data(), ()), UsageError, "dial: alphas is empty"),
        (lambda: dial(network(), data(), 0.5), UsageError, "dial: alphas must be several"),
        (lambda: dial(network(), data(), ("1",)), UsageError, "finite numbers, got '1'"),
        (lambda: dial(network(), data(), (np.nan,)), UsageError, "finite numbers, got nan"),
        (lambda: dial(network(), data(), train_epochs=-1), UsageError, "dial: train_epochs must"),
        (lambda: dial(network(), data(), train_epochs=0.5), UsageError, "dial: train_epochs must"),
        (lambda: dial(network(), data(), seed=-1), UsageError, "dial: a seed must"),
        (lambda: dial(network(), data(), batch_size=0), UsageError, "batch_size must be at least"),
        (lambda: dial(network(), data(), train_epochs=1, lr=-1.0), UsageError, "lr"),
    ],
)
def test_bad_use_is_refused(call: Callable[[], Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()
