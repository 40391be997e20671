"""What a kernel refuses: the reference and the fast version agree, and say it in the same class."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minires import kernels
from minires.errors import DTypeError, MiniresError, ShapeError, UsageError
from minires.kernels import reference

RUNGS = ("reference", "im2col", "fast")

X = np.linspace(-1.0, 1.0, 2 * 4 * 5 * 6).reshape(2, 4, 5, 6)
WEIGHT = np.linspace(0.0, 1.0, 6 * 2 * 3 * 2).reshape(6, 2, 3, 2)
CONV = {"stride": 1, "padding": 1, "dilation": 1, "groups": 2}
CONV_OUT = reference.conv2d(X, WEIGHT, **CONV)
POOL = {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": False}
MAX_OUT, INDICES = reference.max_pool2d(X, **POOL)
AVERAGE = {**POOL, "divisor_override": None}
MEAN, VAR = reference.batch_norm_stats(X)
LOGITS, TARGET = X[:, :, 0, 0], np.array([0, 3])

# A call of each kernel that is in order.
GOOD: dict[str, dict[str, Any]] = {
    "conv2d": {"x": X, "weight": WEIGHT, "bias": np.ones(6), **CONV},
    "conv2d_grad_input": {"grad_out": CONV_OUT, "weight": WEIGHT, "x_shape": X.shape, **CONV},
    "conv2d_grad_weight": {"grad_out": CONV_OUT, "x": X, "weight_shape": WEIGHT.shape, **CONV},
    "conv2d_grads": {"grad_out": CONV_OUT, "x": X, "weight": WEIGHT, **CONV},
    "max_pool2d": {"x": X, **POOL, "dilation": 1},
    "max_pool2d_grad_input": {"grad_out": MAX_OUT, "indices": INDICES, "x_shape": X.shape},
    "max_pool2d_gather": {"x": X, "indices": INDICES},
    "avg_pool2d": {"x": X, **AVERAGE},
    "avg_pool2d_grad_input": {"grad_out": MAX_OUT, "x_shape": X.shape, **AVERAGE},
    "adaptive_avg_pool2d": {"x": X, "output_size": (2, 3)},
    "adaptive_avg_pool2d_grad_input": {"grad_out": X[:, :, :2, :3], "x_shape": X.shape},
    "batch_norm_stats": {"x": X},
    "batch_norm_train": {"x": X, "weight": VAR, "bias": MEAN},
    "batch_norm": {"x": X, "mean": MEAN, "var": VAR, "weight": VAR, "bias": MEAN},
    "batch_norm_grad": {"grad_out": X, "x": X, "mean": MEAN, "var": VAR, "weight": VAR},
    "softmax": {"x": X, "axis": 1},
    "log_softmax": {"x": X, "axis": 1},
    "cross_entropy": {"logits": LOGITS, "target": TARGET},
    "cross_entropy_grad": {"grad_losses": X[:, 0, 0, 0], "logits": LOGITS, "target": TARGET},
}
SETTINGS: list[Any] = [0, -1, 3, 9, 1.5, 2.0, "2", None, True, (1,), (1, 2), (2, 1, 1), (1, 2.0)]


def spoiled(value: Any) -> list[Any]:
    """Things to put in the place of an argument; most are refused, and some are in order."""
    if isinstance(value, np.ndarray):
        dtypes = [np.float32, np.int64, np.uint8, np.bool_, np.complex128]
        others = [value.astype(dtype) for dtype in dtypes]
        others += [value[:1], value[:0], value[None], value[0], value[..., :1], value[..., :0]]
        others += [value + 1000, value - 1000]
        return others
    if isinstance(value, tuple):
        axes = range(len(value))
        changed = [
            tuple(n + d * (a == b) for b, n in enumerate(value)) for a in axes for d in (-1, 1)
        ]
        return [*changed, value[1:], (*value, 1)]
    return SETTINGS


def outcome(rung: str, name: str, arguments: dict[str, Any]) -> Any:
    """The class of the refusal, or shape and dtype of each result."""
    try:
        with kernels.use(rung), np.errstate(all="ignore"):
            results = getattr(kernels, name)(**arguments)
    except MiniresError as error:
        return type(error)
    results = results if isinstance(results, tuple) else (results,)
    return [(result.shape, result.dtype) for result in results]


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A call with one or two arguments spoiled."""
    name = draw(st.sampled_from(sorted(GOOD)))
    arguments = dict(GOOD[name])
    for argument in draw(st.sets(st.sampled_from(sorted(arguments)), min_size=1, max_size=2)):
        arguments[argument] = draw(st.sampled_from(spoiled(arguments[argument])))
    return name, arguments


def test_the_table_has_every_kernel() -> None:
    assert set(GOOD) == set(reference.__all__)


@pytest.mark.parametrize("name", GOOD)
def test_each_argument_spoiled_in_turn_has_the_same_outcome_on_every_rung(name: str) -> None:
    for argument, value in GOOD[name].items():
        for other in spoiled(value):
            found = {r: outcome(r, name, {**GOOD[name], argument: other}) for r in RUNGS}
            assert len(set(map(str, found.values()))) == 1, (argument, other, found)


@settings(deadline=None, max_examples=200)
@given(calls())
def test_two_spoiled_arguments_have_the_same_outcome_on_every_rung(
    call: tuple[str, dict[str, Any]],
) -> None:
    found = {rung: outcome(rung, *call) for rung in RUNGS}
    assert len(set(map(str, found.values()))) == 1, found


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("name", GOOD)
def test_whole_numbers_in_place_of_floats_are_refused_and_the_mend_is_named(
    name: str, rung: str
) -> None:
    for argument, value in GOOD[name].items():
        if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
            continue
        if name in ("max_pool2d", "max_pool2d_gather"):  # which compare, or pick: no arithmetic
            continue
        arguments = {**GOOD[name], argument: value.astype(np.int64)}
        # Of the two gradients at once, the error names the one.
        said = {"conv2d_grads": r"conv2d_grad_\w+"}.get(name, name)
        with (
            kernels.use(rung),
            pytest.raises(DTypeError, match=rf"(?s)^{said}: {argument} must .*\.to\('float32'\)"),
        ):
            getattr(kernels, name)(**arguments)


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.bool_])
def test_the_largest_of_whole_numbers_is_one_even_where_no_tap_reaches_every_window(
    dtype: Any, rung: str
) -> None:
    x = (np.arange(16).reshape(1, 1, 4, 4) % 3).astype(dtype)
    with kernels.use(rung):
        out, indices = kernels.max_pool2d(x, 2, 1, 1)
    assert out.dtype == dtype
    expected, where = reference.max_pool2d(x.astype(float), 2, 1, 1)
    np.testing.assert_array_equal(out, expected.astype(dtype))
    np.testing.assert_array_equal(indices, where)


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("wide", ["grad_out", "mean", "var", "weight", "bias"])
def test_batch_norm_takes_the_widest_dtype_it_is_given(wide: str, rung: str) -> None:
    arguments = {"x": X, "mean": MEAN, "var": VAR, "weight": VAR, "bias": MEAN, "grad_out": X}
    arguments = {
        name: value if name == wide else value.astype(np.float32)
        for name, value in arguments.items()
    }
    with kernels.use(rung):
        grad_out = arguments.pop("grad_out")
        if wide != "grad_out":
            assert kernels.batch_norm(**arguments).dtype == np.float64
        del arguments["bias"]
        if wide != "bias":
            grads = kernels.batch_norm_grad(grad_out, **arguments)
            assert [grad.dtype for grad in grads] == [np.float64] * 3


@pytest.mark.parametrize("rung", RUNGS)
def test_statistics_that_would_only_broadcast_are_refused(rung: str) -> None:
    one, four = np.zeros(1), np.ones(4)
    with kernels.use(rung):
        with pytest.raises(ShapeError, match=r"^batch_norm: .* so mean must be \(4,\)"):
            kernels.batch_norm(X, one, four)
        with pytest.raises(ShapeError, match=r"^batch_norm_grad: .* so weight must be \(4,\)"):
            kernels.batch_norm_grad(X, X, four, four, one)
        with pytest.raises(ShapeError, match=r"^batch_norm_grad: grad_out"):
            kernels.batch_norm_grad(X[:1], X, four, four)


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("place", [30, 5000, -1])
def test_indices_that_leave_their_plane_are_refused(place: int, rung: str) -> None:
    indices = INDICES.copy()
    indices[1, 2, 0, 1] = place
    with kernels.use(rung):
        with pytest.raises(ShapeError, match=rf"gather: indices .* {place}, .* 0 to 29"):
            kernels.max_pool2d_gather(X, indices)
        with pytest.raises(ShapeError, match=rf"grad_input: indices .* {place}, .* 0 to 29"):
            kernels.max_pool2d_grad_input(MAX_OUT, indices, X.shape)


@pytest.mark.parametrize("rung", RUNGS)
def test_unsigned_indices_are_places_too(rung: str) -> None:
    with kernels.use(rung):
        np.testing.assert_array_equal(
            kernels.max_pool2d_gather(X, INDICES.astype(np.uint64)), MAX_OUT
        )


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax_takes_one_number_and_refuses_an_axis_that_is_not_there(
    name: str, rung: str
) -> None:
    with kernels.use(rung):
        assert getattr(kernels, name)(np.array(7.0)) == (1.0 if name == "softmax" else 0.0)
        for x in (X, X[:0]):
            with pytest.raises(ShapeError, match=rf"^{name}: .* axis 4"):
                getattr(kernels, name)(x, 4)


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("setting", ["stride", "padding", "dilation"])
@pytest.mark.parametrize("name", ["conv2d", "conv2d_grad_input", "conv2d_grad_weight"])
def test_a_float_in_a_setting_is_refused_even_if_whole_and_the_setting_is_named(
    name: str, setting: str, rung: str
) -> None:
    with (
        kernels.use(rung),
        pytest.raises(UsageError, match=rf"^{name}: {setting} must be a whole number .* 2\.0"),
    ):
        getattr(kernels, name)(**{**GOOD[name], setting: 2.0})
