"""Gradients along a line of inputs, against gradients and correlations found without it."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.errors import ContractError, ShapeError, UsageError
from minires.flow.shattering import (
    Shattering,
    autocorrelation,
    hold_statistics,
    noise_references,
    shattering,
)
from minires.flow.untouched import untouched
from tests.flow.test_trace import Oops, make_batch, make_model, picture, same


def stack(depth: int = 8, **options: Any) -> Any:
    mr.manual_seed(0)
    return mr.models.stack(depth, 16, **{"in_channels": 4, "num_classes": 3, **options})


def batch(n: int = 12, size: int = 4) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((n, size)).astype(np.float32)


def held_by_hand(model: Any, x: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, Any]]:
    """Mean and deviation of each batch norm of a stack of blocks, over the batch, in float64."""
    h = x.astype(np.float64) @ model.stem.weight.data.T.astype(np.float64)
    held = []
    for block in [*model.layers, None]:
        held.append((h.mean(axis=0), np.sqrt(h.var(axis=0) + 1e-5), block))
        if block is not None:
            on = np.maximum((h - held[-1][0]) / held[-1][1], 0)
            out = on @ block.layer.weight.data.T.astype(np.float64)
            h = out if block.shortcut is None else h + out
    return held


def gradient_by_hand(model: Any, x: np.ndarray, at: np.ndarray, readout: np.ndarray) -> np.ndarray:
    """d<readout, f>/dx at one input, by forward accumulation of the Jacobian."""
    jacobian = model.stem.weight.data.astype(np.float64)  # (width, inputs)
    h = jacobian @ at
    for mean, deviation, block in held_by_hand(model, x):
        normed = (h - mean) / deviation
        gated = jacobian * ((normed > 0) / deviation)[:, None]
        on = np.maximum(normed, 0)
        layer = model.fc if block is None else block.layer
        weight = layer.weight.data.astype(np.float64)
        skips = block is not None and block.shortcut is not None
        h = weight @ on + (h if skips else 0)
        jacobian = weight @ gated + (jacobian if skips else 0)
    return readout @ jacobian


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_curves_are_those_of_gradients_written_out_by_hand(kind: str) -> None:
    model, x, points = stack(5, kind=kind), batch(), 24
    found = shattering(model, x, points=points, outputs=2, seed=4)
    readouts = np.random.default_rng(4).standard_normal((2, 3))
    start, end = x[:2].astype(np.float64)
    line = [start + t * (end - start) for t in np.linspace(0, 1, points)]
    curves, products = [], []
    for readout in readouts:
        grads = np.array([gradient_by_hand(model, x, at, readout) for at in line])
        slope = grads @ (end - start)
        slope -= slope.mean()
        full = np.correlate(slope, slope, "full")[points - 1 :]
        curves.append(full[: points // 4 + 1] / full[0])
        products.append(grads @ grads.T)
    np.testing.assert_allclose(found.autocorrelation, np.mean(curves, axis=0), atol=1e-9)
    np.testing.assert_allclose(found.low, np.min(curves, axis=0), atol=1e-9)
    np.testing.assert_allclose(found.high, np.max(curves, axis=0), atol=1e-9)
    total = np.sum(products, axis=0)
    by_lag = [np.mean([total[i, i + lag] for i in range(points - lag)]) for lag in found.lags]
    np.testing.assert_allclose(found.correlation, np.array(by_lag) / by_lag[0], atol=1e-9)
    assert found.statistics == "batch"
    assert found.length == pytest.approx(np.linalg.norm(end - start))
    assert found.max_error < 1e-6
    assert found.checked + found.kinks == 2 * 16


def test_skips_keep_the_gradient_like_itself() -> None:
    halves = {}
    for depth, kind in ((1, "plain"), (30, "plain"), (30, "residual")):
        found = shattering(stack(depth, kind=kind), batch(), points=128, outputs=4)
        halves[depth, kind] = found.half_lag or 99
        assert found.max_error < 1e-6
    assert halves[30, "plain"] <= 2
    assert halves[30, "plain"] < halves[30, "residual"]
    assert halves[30, "plain"] < halves[1, "plain"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [True, False])
def test_it_works_on_images_in_both_precisions_and_modes(dtype: str, training: bool) -> None:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(8, width=2, in_channels=1, num_classes=3)
    x = np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(dtype)
    found = shattering(model.to(dtype).train(training), x, points=16, outputs=2)
    assert found.statistics == ("batch" if training else "running")
    assert found.max_error < 1e-6
    assert len(found.lags) == len(found.autocorrelation) == len(found.white) == 5
    assert found.autocorrelation[0] == pytest.approx(1.0)
    assert model.conv1.weight.dtype == np.dtype(dtype)


def test_start_and_end_choose_the_line() -> None:
    model, x = stack(), batch()
    usual = shattering(model, x, points=16)
    assert shattering(model, x, points=16, start=x[0], end=mr.tensor(x[1])) == usual
    assert shattering(model, x, points=16, end=x[2]) != usual
    assert shattering(model, x, points=16, seed=1) != usual
    far = shattering(model, x, points=16, start=x[0], end=x[0] + 3 * (x[1] - x[0]))
    assert far.length == pytest.approx(3 * usual.length)


def test_the_check_sees_samples_that_influence_each_other() -> None:
    class Coupled(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.sigmoid(x) * x.mean()

    found = shattering(Coupled(), batch(), points=16)
    assert found.max_error > 1e-3
    assert "does not agree" in found.caption()


def test_a_smooth_function_agrees_with_its_differences() -> None:
    mr.manual_seed(0)

    class Smooth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 2)

        def forward(self, x: Any) -> Any:
            return self.second(F.tanh(self.first(x)))

    found = shattering(Smooth(), batch(), points=64)
    assert found.kinks == 0
    assert found.max_error < 1e-6
    assert found.statistics == "none"
    assert found.correlation[1] > 0.99


def test_a_kink_at_a_point_is_left_out_and_counted() -> None:
    class Bent(nn.Module):
        def forward(self, x: Any) -> Any:
            return F.relu(x)

    x = np.array([[-1.0, 1.0], [1.0, 2.0]])
    found = shattering(Bent(), x, points=17, outputs=1)  # the ninth point lies on the kink
    assert (found.checked, found.kinks) == (14, 1)
    assert found.max_error < 1e-6


def test_a_linear_network_has_nothing_to_correlate() -> None:
    mr.manual_seed(0)
    found = shattering(nn.Linear(4, 2), batch(), points=16)
    assert math.isnan(found.autocorrelation[0])
    assert found.half_lag is None
    assert found.correlation == pytest.approx([1.0] * 5)
    assert "nothing to correlate" in found.caption()
    assert found.to_dict()["autocorrelation"] == [None] * 5
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))


def test_a_network_without_gradient_is_drawn_as_missing() -> None:
    class Constant(nn.Module):
        def forward(self, x: Any) -> Any:
            return x * 0.0

    found = shattering(Constant(), batch(), points=16)
    assert math.isnan(found.correlation[0])
    assert found.to_dict()["correlation"] == [None] * 5


def test_autocorrelation_is_that_of_the_definition() -> None:
    series = np.random.default_rng(0).standard_normal(40).cumsum() + 5
    centred = series - series.mean()
    expected = np.correlate(centred, centred, "full")[39:] / (centred**2).sum()
    np.testing.assert_allclose(autocorrelation(series, 40), expected, atol=1e-12)
    assert np.isnan(autocorrelation(np.full(9, 0.1), 3)).all()
    assert np.isnan(autocorrelation(np.full(9, np.nan), 3)).all()


def test_noise_lies_where_noise_lies() -> None:
    white, brown = noise_references(200, 51, np.random.default_rng(0), series=400)
    assert white[0] == brown[0] == 1.0
    assert np.abs(white[1:]).max() < 0.02
    # E[s(t) s(t + lag)] of a random walk less its mean, by its covariance matrix.
    walk = np.tril(np.ones((200, 200)))
    centre = np.eye(200) - 1 / 200
    covariance = centre @ walk @ walk.T @ centre
    expected = [np.trace(covariance, lag) / np.trace(covariance) for lag in range(51)]
    assert np.abs(brown - expected).max() < 0.12
    assert brown[1] > 0.95


def test_white_noise_lies_within_the_floor_nineteen_times_out_of_twenty() -> None:
    n, inside = 256, []
    for seed in range(200):
        series = np.random.default_rng(seed).standard_normal(n)
        inside.append(np.abs(autocorrelation(series, 20)[1:]) < 2 / math.sqrt(n))
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


# --- batch norm is held ---


def test_held_statistics_give_the_output_of_training_one_sample_at_a_time() -> None:
    model = stack(4).to("float64")
    x = mr.tensor(batch().astype(np.float64))
    expected = model(x).data
    with untouched(model):
        assert hold_statistics(model, x) == "batch"
        one_by_one = np.concatenate([model(x[i : i + 1]).data for i in range(12)])
    np.testing.assert_allclose(one_by_one, expected, rtol=1e-10)


def test_batch_norm_in_evaluation_keeps_its_running_statistics() -> None:
    model = stack(4).to("float64")
    x = mr.tensor(batch().astype(np.float64))
    model.layers[1].bn.eval()
    model.layers[1].bn.running_var.data[...] = 4.0
    expected = model(x).data
    with untouched(model):
        hold_statistics(model, x)
        np.testing.assert_allclose(model(x).data, expected, rtol=1e-10)


def test_batch_norm_without_running_statistics_is_held_too() -> None:
    mr.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False), nn.ReLU()).eval()
    x = np.random.default_rng(0).standard_normal((4, 2, 3, 3))
    found = shattering(model, x, points=16, outputs=2)
    assert found.statistics == "batch"
    assert found.max_error < 1e-6
    assert model[0].running_mean is None


# --- no trace, and bad use ---


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_failure_half_way_leaves_everything_as_it_was(nth: int) -> None:
    model, calls = make_model(), []

    def fail(module: Any, inputs: Any, out: Any) -> None:
        calls.append(1)
        if len(calls) == nth:
            raise Oops

    model.fc.register_forward_hook(fail)
    before = picture(model)
    with pytest.raises(Oops):
        shattering(model, make_batch()[0], points=8, outputs=2)
    assert len(calls) == nth  # the batch, one sample, the line, the check
    same(before, picture(model))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"model": 3}, ContractError, "a int is no model"),
        ({"x": batch()[:1]}, ShapeError, "at least two samples"),
        ({"x": np.arange(4)}, ShapeError, "at least two samples"),
        ({"x": np.zeros((4, 4), int)}, ShapeError, "floating-point"),
        ({"start": np.zeros(5)}, ShapeError, "start must be one sample"),
        ({"end": batch()}, ShapeError, "end must be one sample"),
        ({"start": batch()[1]}, UsageError, "no length"),
        ({"points": 7}, UsageError, "at least 8 points"),
        ({"outputs": 0}, UsageError, "at least one read-out"),
        ({"seed": -1}, UsageError, "a seed must be"),
        ({"model": nn.Linear(5, 2)}, ShapeError, "linear"),
    ],
)
def test_bad_use_is_refused(change: dict[str, Any], error: type[Exception], says: str) -> None:
    given: dict[str, Any] = {"model": stack(2), "x": batch(), **change}
    with pytest.raises(error, match=says):
        shattering(given.pop("model"), given.pop("x"), **given)


@pytest.mark.parametrize("output", [lambda x: x.sum(), lambda x: (x, x), lambda x: x[0]])
def test_a_model_without_a_row_for_each_sample_is_refused(output: Any) -> None:
    class Odd(nn.Module):
        def forward(self, x: Any) -> Any:
            return output(x)

    with pytest.raises(ContractError, match="a row for each sample"):
        shattering(Odd(), batch())


def test_the_result_tells_its_numbers() -> None:
    found = shattering(stack(20), batch(), points=64)
    headers, rows = found.rows()
    assert [row[0] for row in rows] == [0, 1, 2, 4, 8, 16]
    assert rows[3][1:] == [
        curve[4] for curve in (found.autocorrelation, found.correlation, found.white, found.brown)
    ]
    assert len(headers) == 5
    assert found.network == "Stack plain-20, width=16"
    assert f"at a lag of {found.half_lag} " in found.caption()
    assert f"{found.checked} places" in found.caption()
    data = found.to_dict()
    assert data["lags"] == list(range(17))
    assert data["floor"] == pytest.approx(0.25)
    assert json.loads(json.dumps(data)) == data
    slow = Shattering(**{**vars(found), "half_lag": None, "checked": 0})
    assert "stays above 1/2 for all 16 lags" in slow.caption()
    assert "kinks at all places" in slow.caption()
