"""The landscape, held against weights that were moved by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.autograd import Function
from minires.errors import ContractError, ShapeError, UsageError
from minires.flow.landscape import Landscape, landscape
from tests.flow.test_trace import Oops, failing_loss, make_batch, make_model, picture, same


def build(dtype: str = "float64", *, training: bool = True, **options: Any) -> Any:
    mr.manual_seed(0)
    options = {"depth": 8, "width": 2, "in_channels": 1, "num_classes": 3, **options}
    return mr.models.cifar_resnet(**options).to(dtype).train(training)


def batch(dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(4)
    return draw.standard_normal((6, 1, 4, 4)).astype(dtype), draw.integers(0, 3, 6)


def directions(model: nn.Module, count: int, seed: int = 0) -> list[dict[str, np.ndarray]]:
    """The same directions, filter by filter, by Li et al. 2018, section 4."""
    draw = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        direction = {}
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                d = draw.standard_normal(parameter.shape)
                for i, weight in enumerate(parameter.data.astype("float64")):
                    d[i] *= np.linalg.norm(weight) / np.linalg.norm(d[i])
                direction[name] = d
        found.append(direction)
    return found


def loss_by_hand(model: Any, places: list[tuple[float, dict[str, np.ndarray]]]) -> float:
    """The loss with the weights moved; the model is spoilt."""
    parameters = dict(model.named_parameters())
    for step, direction in places:
        for name, d in direction.items():
            parameters[name].data[...] = parameters[name].data + step * d
    x, y = batch(str(model.conv1.weight.dtype))
    with mr.no_grad():
        return float(F.cross_entropy(model(mr.tensor(x)), mr.tensor(y)).item())


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_point_of_the_line_is_the_loss_at_weights_moved_by_hand(
    dtype: str, training: bool
) -> None:
    found = landscape(build(dtype, training=training), *batch(dtype), points=5, span=0.5, seed=3)
    assert found.coordinates.tolist() == [-0.5, -0.25, 0.0, 0.25, 0.5]
    assert found.mode == ("training" if training else "evaluation")
    (d,) = directions(build(dtype), 1, seed=3)
    for step, loss in zip(found.coordinates, found.losses, strict=True):
        expected = loss_by_hand(build(dtype, training=training), [(step, d)])
        assert loss == pytest.approx(expected, rel=1e-12 if dtype == "float64" else 1e-4)


def test_a_point_of_the_square_is_moved_along_both_directions() -> None:
    found = landscape(build(), *batch(), points=3, dimensions=2)
    first, second = directions(build(), 2)
    assert found.losses.shape == (3, 3)
    for i, j in np.ndindex(3, 3):
        steps = [(found.coordinates[i], first), (found.coordinates[j], second)]
        assert found.losses[i, j] == pytest.approx(loss_by_hand(build(), steps), rel=1e-10)
    assert found.along(0).tolist() == found.losses[:, 1].tolist()
    assert found.along(1).tolist() == found.losses[1].tolist()
    line = landscape(build(), *batch(), points=3)
    assert line.losses.tolist() == found.along(0).tolist()


def test_each_filter_moves_by_its_own_length_and_bias_and_norm_stay() -> None:
    model = build()
    start = {name: p.data.copy() for name, p in model.named_parameters()}
    seen = []

    def watched(output: Any, target: Any) -> Any:
        seen.append({name: p.data.copy() for name, p in model.named_parameters()})
        return F.cross_entropy(output, target)

    landscape(model, *batch(), points=3, span=1.0, loss=watched)
    (moved, *_) = [
        weights
        for weights in seen
        if np.abs(weights["conv1.weight"] - start["conv1.weight"]).max() > 0.01
    ]
    for name, weight in start.items():
        change = moved[name] - weight
        if weight.ndim < 2:
            assert not change.any(), name
            continue
        for filter_, step in zip(weight, change, strict=True):
            assert np.linalg.norm(step) == pytest.approx(np.linalg.norm(filter_)), name


def test_frozen_parameters_stay_where_they_are() -> None:
    model = build()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == "fc.weight")
    found = landscape(model, *batch(), points=3)
    draw, weight = np.random.default_rng(0), build().fc.weight.data
    d = draw.standard_normal(weight.shape)
    d *= np.linalg.norm(weight, axis=1, keepdims=True) / np.linalg.norm(d, axis=1, keepdims=True)
    expected = loss_by_hand(build(), [(1.0, {"fc.weight": d})])
    assert found.losses[2] == pytest.approx(expected)
    assert found.max_error < 1e-6


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("dimensions", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_centre_is_the_loss_of_the_model_to_the_last_bit(
    dtype: str, dimensions: int, training: bool
) -> None:
    model, (x, y) = build(dtype, training=training), batch(dtype)
    found = landscape(model, x, y, points=3, span=0.3, dimensions=dimensions)
    loss = F.cross_entropy(model(mr.tensor(x)), mr.tensor(y)).item()
    assert found.losses[(1,) * dimensions] == loss == found.loss
    assert found.centre_error == 0.0


@pytest.mark.parametrize("family", [{}, {"residual": False}, {"preactivation": True}])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_slopes_are_gradient_times_direction_and_those_of_the_loss(
    dtype: str, family: dict[str, Any]
) -> None:
    model, (x, y) = build(dtype, **family), batch(dtype)
    found = landscape(model, x, y, points=3, dimensions=2)
    assert found.max_error < 1e-5
    model = build(dtype, **family).to("float64")
    F.cross_entropy(model(mr.tensor(x.astype("float64"))), mr.tensor(y)).backward()
    parameters = dict(model.named_parameters())
    for slope, d in zip(found.slopes, directions(build(dtype, **family), 2), strict=True):
        expected = sum(float((parameters[name].grad.data * d[name]).sum()) for name in d)
        assert slope == pytest.approx(expected, rel=1e-9)


class WrongScale(Function):
    """out = x, with a gradient that is a tenth too large."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.copy()

    @staticmethod
    def backward(ctx: Any, grad_out: Any) -> Any:
        return grad_out * 1.1


def test_the_check_finds_a_wrong_gradient() -> None:
    found = landscape(
        build(), *batch(), points=3, loss=lambda out, y: F.cross_entropy(WrongScale.apply(out), y)
    )
    assert found.max_error == pytest.approx(0.1 / 1.1, rel=0.2)
    assert "or the gradient is wrong" in found.caption()


def test_the_check_finds_a_model_that_does_not_compute_the_same_twice() -> None:
    calls: list[int] = []

    def restless(output: Any, target: Any) -> Any:
        calls.append(1)
        return F.cross_entropy(output, target) + float(len(calls))

    found = landscape(build(), *batch(), points=3, loss=restless)
    assert found.centre_error > 0.5
    assert "does not compute the same twice" in found.caption()


def test_every_point_sees_the_same_random_numbers() -> None:
    mr.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.Dropout(0.5), nn.Linear(32, 3))
    found = landscape(model, *batch("float32"), points=3)
    assert found.centre_error == 0.0
    assert found.max_error < 1e-3


def test_a_parabola_is_drawn_as_one() -> None:
    class Weights(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(np.random.default_rng(1).standard_normal((3, 5)))

        def forward(self, x: Any) -> Any:
            return self.weight

    model = Weights()
    found = landscape(
        model, np.ones(1), np.ones(1), points=9, span=2.0, loss=lambda w, _: (w * w).sum() / 2
    )
    size = float((model.weight.data**2).sum())  # of w, and so of d
    expected = (1 + found.coordinates**2) * size / 2 + found.coordinates * found.slopes[0]
    np.testing.assert_allclose(found.losses, expected, rtol=1e-12)
    assert found.max_error < 1e-6
    assert found.minima == 1


@pytest.mark.parametrize("dimensions", [1, 2])
def test_minima_are_the_inner_points_below_all_neighbours(dimensions: int) -> None:
    losses = np.random.default_rng(0).standard_normal((15,) * dimensions)
    losses[(0,) * dimensions] = -9.0  # lowest of all, at the border
    losses[(3,) * dimensions] = losses[(2,) * dimensions] = -8.0  # neither is below the other
    losses[(5,) * dimensions] = np.inf
    steps = np.arange(-7.0, 8.0)
    found = Landscape(dimensions, "training", steps, losses, 0.0, (0.0,) * dimensions, 0.0, 0.0)
    count = 0
    for place in np.ndindex((13,) * dimensions):
        around = losses[tuple(slice(i, i + 3) for i in place)]
        count += int((around > losses[tuple(i + 1 for i in place)]).sum() == around.size - 1)
    assert found.minima == count > 0


def test_losses_that_are_not_finite_stay_in_the_result_and_are_none_in_the_data() -> None:
    def steep(output: Any, target: Any) -> Any:
        return (output * 40.0).exp().sum()

    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    found = landscape(model, *batch("float32"), points=5, span=40.0, loss=steep)
    assert np.isinf(found.losses).any()
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    for loss, plain in zip(found.losses, data["losses"], strict=True):
        assert plain == (loss if math.isfinite(loss) else None)
    assert "of 5 points it is not finite" in found.caption()
    found.table()


def test_the_result_is_plain_data_a_table_and_a_sentence() -> None:
    found = landscape(build(), *batch(), points=5, dimensions=2)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert np.array(data["losses"]).shape == (5, 5)
    assert data["coordinates"] == found.coordinates.tolist()
    assert data["loss"] == found.loss
    headers, rows = found.rows()
    assert headers == ["step", "loss along direction 1", "loss along direction 2"]
    assert [row[1] for row in rows] == found.along(0).tolist()
    assert f"the loss is {found.loss:.3g} at the weights" in found.caption()
    assert f"lowest of 25 points {found.losses.min():.3g} at (" in found.caption()
    assert found.caption().endswith(f"within {found.max_error:.0e}.")


def test_another_seed_gives_other_directions_and_the_same_one_the_same_bits() -> None:
    first, again, other = (landscape(build(), *batch(), points=3, seed=s) for s in (1, 1, 2))
    assert first.losses.tobytes() == again.losses.tobytes()
    assert first.slopes == again.slopes != other.slopes


@pytest.mark.parametrize("nth", [1, 2, 9, 11, 13])
def test_a_loss_that_fails_half_way_leaves_everything_as_it_was(nth: int) -> None:
    """Of 13: one with a gradient, eight for its check, three of the grid, one at the end."""
    calls: list[int] = []

    def fails(output: Any, target: Any) -> Any:
        calls.append(1)
        return (
            failing_loss(output, target) if len(calls) == nth else F.cross_entropy(output, target)
        )

    model = make_model()
    before = picture(model)
    with pytest.raises(Oops):
        landscape(model, *make_batch(), points=3, loss=fails)
    same(before, picture(model))


def test_a_graph_that_waits_for_its_backward_survives_a_landscape() -> None:
    model, (x, y) = build(training=False), batch()
    loss = F.cross_entropy(model(mr.tensor(x)), mr.tensor(y))
    landscape(model, x, y, points=3)
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_bad_use_is_named_with_its_mend() -> None:
    model, (x, y) = build(), batch()
    with pytest.raises(ContractError, match=r"landscape: a list is no model"):
        landscape([model], x, y)  # type: ignore[arg-type]
    with pytest.raises(ContractError, match=r"landscape: needs the labels"):
        landscape(model, x)
    with pytest.raises(ContractError, match=r"landscape: Flatten has no filters to move"):
        landscape(nn.Flatten(), x, y)
    for points, nearest in ((20, 21), (1, 3), (0, 3), (-7, 3)):
        with pytest.raises(UsageError, match=rf"points={points}; .* nearest is {nearest}\."):
            landscape(model, x, y, points=points)
    with pytest.raises(UsageError, match=r"points must be a whole number"):
        landscape(model, x, y, points=5.0)  # type: ignore[arg-type]
    for span in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(UsageError, match=r"span must be above 0 and finite"):
            landscape(model, x, y, span=span)
    with pytest.raises(UsageError, match=r"draws 1 or 2 dimensions, not 3"):
        landscape(model, x, y, dimensions=3)
    with pytest.raises(ShapeError, match=r"landscape: the loss must be a single number"):
        landscape(model, x, y, loss=lambda out, _: out)
    with pytest.raises(ContractError, match=r"landscape: the loss returned a float"):
        landscape(model, x, y, loss=lambda out, target: F.cross_entropy(out, target).item())
