"""The outermost eigenvalue of the Hessian, held against dense Hessians and known ones."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.errors import ContractError, ShapeError, UsageError
from minires.flow.hessian import hessian_eigenvalue
from tests.flow.test_trace import Oops, make_batch, picture, same


class Quadratic(nn.Module):
    """Two parameters, together w; with ``loss`` the function is w A w / 2 + b w."""

    def __init__(self, values: list[float]):
        super().__init__()
        draw = np.random.default_rng(0)
        basis, _ = np.linalg.qr(draw.standard_normal((len(values),) * 2))
        self.A = mr.tensor(basis @ np.diag(values) @ basis.T)
        self.first = nn.Parameter(draw.standard_normal((1, 2)))
        self.second = nn.Parameter(draw.standard_normal(len(values) - 2))

    def forward(self, x: Any) -> Any:
        w = F.cat([self.first.reshape(-1), self.second])
        return (w * (self.A @ w)).sum() / 2 + (x * w).sum()


def as_it_is(output: Any, target: Any) -> Any:
    return output


@pytest.mark.parametrize(
    ("values", "expected"),
    [([3.0, -5.0, 1.0, 0.1, 2.0], -5.0), ([3.0, -2.0, 1.0, 0.1, 2.0], 3.0)],
)
def test_of_a_quadratic_it_is_the_eigenvalue_of_largest_magnitude(
    values: list[float], expected: float
) -> None:
    model = Quadratic(values)
    found = hessian_eigenvalue(model, np.ones(5), np.ones(1), loss=as_it_is, tolerance=1e-9)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.parameters == 5
    assert found.converged
    v = found.vector
    np.testing.assert_allclose(model.A.data @ v, expected * v, atol=1e-7)
    assert ("upward" if expected > 0 else "downward") in found.caption()


def build(dtype: str = "float64", **options: Any) -> Any:
    mr.manual_seed(0)
    options = {"depth": 8, "width": 1, "in_channels": 1, "num_classes": 3, **options}
    return mr.models.cifar_resnet(**options).to(dtype)


def batch(dtype: str = "float64") -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(4)
    return draw.standard_normal((6, 1, 4, 4)).astype(dtype), draw.integers(0, 3, 6)


class Tiny(nn.Module):
    """A convolution and a pre-activation block, 87 parameters."""

    def __init__(self) -> None:
        super().__init__()
        mr.manual_seed(0)
        self.stem, self.block, self.head = nn.Conv2d(1, 2, 3), TinyBlock(), nn.Linear(8, 3)
        draw = np.random.default_rng(1)
        self.to("float64")
        for tensor in (*self.parameters(), self.block.norm.running_mean):
            if tensor.ndim == 1:  # nothing stands at the kink of a ReLU
                tensor.data[...] = draw.uniform(0.5, 1.5, tensor.shape)

    def forward(self, x: Any) -> Any:
        return self.head(F.flatten(self.block(self.stem(x)), 1))


class TinyBlock(nn.ResidualBlock):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3, padding=1, bias=False)

    def branch(self, u: Any) -> Any:
        return self.conv(F.relu(self.norm(u)))


def dense_hessian(model: Any) -> np.ndarray:
    """By central differences of the gradient, one parameter's element after the other."""
    x, y = (mr.tensor(a) for a in batch())
    parameters = list(model.parameters())
    h, columns = 1e-6, []

    def gradient() -> np.ndarray:
        found = mr.grad(F.cross_entropy(model(x), y), parameters)
        return np.concatenate([g.data.ravel() for g in found])

    for parameter in parameters:
        for place in np.ndindex(parameter.shape):
            start = parameter.data[place]
            sides = []
            for step in (h, -h):
                parameter.data[place] = start + step
                sides.append(gradient())
            parameter.data[place] = start
            columns.append((sides[0] - sides[1]) / (2 * h))
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_of_a_network_it_is_that_of_the_dense_hessian_by_finite_differences(
    training: bool,
) -> None:
    found = hessian_eigenvalue(Tiny().train(training), *batch(), tolerance=1e-7)
    H = dense_hessian(Tiny().train(training))
    values, vectors = np.linalg.eigh((H + H.T) / 2)
    top = int(np.abs(values).argmax())
    assert found.value == pytest.approx(values[top], rel=1e-6)
    assert abs(found.vector @ vectors[:, top]) == pytest.approx(1.0, abs=1e-6)
    assert found.parameters == len(H)
    assert found.residual <= 1e-7
    assert found.mode == ("training" if training else "evaluation")


def test_the_residual_is_that_of_a_separate_product() -> None:
    model = Quadratic([3.0, -5.0, 1.0, 0.1, 2.0, 4.0])
    found = hessian_eigenvalue(model, np.ones(6), np.ones(1), loss=as_it_is, steps=3)
    v = found.vector
    off = np.linalg.norm(model.A.data @ v - found.value * v)
    assert found.residual == pytest.approx(off / abs(found.value), rel=1e-9)
    assert found.residual > 1e-3
    assert not found.converged
    assert found.products == 4
    assert len(found.history) == 3
    assert "give it more steps" in found.caption()


def test_a_float32_network_has_the_eigenvalue_of_its_float64_copy() -> None:
    found = hessian_eigenvalue(build("float32"), *batch("float32"))
    model, (x, y) = build("float32").to("float64"), batch("float32")
    double = hessian_eigenvalue(model, x.astype("float64"), y, tolerance=1e-8)
    assert found.value == pytest.approx(double.value, rel=1e-3)
    assert found.converged


def test_parameters_that_are_frozen_are_not_in_the_hessian() -> None:
    model = Quadratic([3.0, -5.0, 1.0, 0.1, 2.0])
    model.first.requires_grad_(False)
    found = hessian_eigenvalue(model, np.ones(5), np.ones(1), loss=as_it_is, tolerance=1e-9)
    values = np.linalg.eigvalsh(model.A.data[2:, 2:])
    assert found.parameters == 3
    assert found.value == pytest.approx(values[np.abs(values).argmax()])


def test_a_loss_that_is_straight_or_reads_no_parameter_has_eigenvalue_0() -> None:
    for loss in (lambda out, y: (out * y).sum(), lambda out, y: (y * 1.0).sum() + out.sum() * 0.0):
        found = hessian_eigenvalue(nn.Linear(2, 1), mr.ones(1, 2), mr.ones(1, 1), loss=loss)
        assert (found.value, found.residual, found.converged) == (0.0, 0.0, True)
        assert "The Hessian is zero" in found.caption()


def test_parameters_that_the_loss_does_not_read_have_zeros_in_the_vector() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Parameter(np.ones(2))
            self.used = nn.Parameter(np.array([1.0, 2.0]))

        def forward(self, x: Any) -> Any:
            return (self.used * self.used * x).sum()

    found = hessian_eigenvalue(Half(), np.array([1.0, 3.0]), np.ones(1), loss=as_it_is)
    assert found.value == pytest.approx(6.0)
    np.testing.assert_allclose(np.abs(found.vector), [0.0, 0.0, 0.0, 1.0], atol=1e-3)


def test_products_that_are_not_finite_are_said_to_be_so() -> None:
    found = hessian_eigenvalue(
        nn.Linear(2, 1), mr.ones(1, 2), mr.ones(1), loss=lambda out, y: (out * out * np.nan).sum()
    )
    assert np.isnan(found.value)
    assert not found.converged
    assert "not finite" in found.caption()
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_result_is_plain_data_a_table_and_a_sentence() -> None:
    found = hessian_eigenvalue(build(), *batch())
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["value"] == found.value
    assert data["loss"] == pytest.approx(
        F.cross_entropy(build()(mr.tensor(batch()[0])), mr.tensor(batch()[1])).item()
    )
    assert len(data["history"]) == found.products - 1
    assert "vector" not in data
    assert len(found.rows()[1]) == found.products - 1
    assert f"{found.value:.4g}" in found.caption()
    assert "eigenvalue" in found.table()


def test_it_runs_where_gradients_are_switched_off() -> None:
    expected = hessian_eigenvalue(build(), *batch())
    with mr.no_grad():
        assert hessian_eigenvalue(build(), *batch()).value == expected.value


def test_a_product_that_fails_half_way_leaves_everything_as_it_was() -> None:
    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.head = nn.BatchNorm2d(1), nn.Linear(64, 3)
            self.calls: list[int] = []

        def forward(self, x: Any) -> Any:
            hidden = self.norm(x)
            hidden.register_hook(self.count)
            return self.head(F.flatten(hidden, 1))

        def count(self, grad: Any) -> None:
            self.calls.append(1)
            if len(self.calls) == 3:
                raise Oops

    model = Breaks()
    before = picture(model)
    with pytest.raises(Oops):
        hessian_eigenvalue(model, *make_batch())
    same(before, picture(model))


def test_bad_use_is_named_with_its_mend() -> None:
    model, (x, y) = build(), batch()
    with pytest.raises(ContractError, match=r"hessian_eigenvalue: a list is no model"):
        hessian_eigenvalue([model], x, y)  # type: ignore[arg-type]
    with pytest.raises(ContractError, match=r"hessian_eigenvalue: needs the labels"):
        hessian_eigenvalue(model, x)
    with pytest.raises(ContractError, match=r"no parameter of Flatten requires grad"):
        hessian_eigenvalue(nn.Flatten(), x, y)
    with pytest.raises(UsageError, match=r"steps=0 and tolerance=0.001"):
        hessian_eigenvalue(model, x, y, steps=0)
    with pytest.raises(UsageError, match=r"tolerance=-1.0"):
        hessian_eigenvalue(model, x, y, tolerance=-1.0)
    with pytest.raises(ShapeError, match=r"hessian_eigenvalue: the loss must be a single number"):
        hessian_eigenvalue(model, x, y, loss=lambda out, _: out)
