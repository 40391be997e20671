"""The gradient checker: what it lets through, what it refuses, and what it says.

A checker that passes a wrong gradient is worse than none, so most of this plants wrong ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.autograd import Function
from minires.check import GradcheckError, gradcheck, gradgradcheck
from minires.errors import DTypeError, UsageError
from minires.functional.shape import unbroadcast

RNG = np.random.default_rng(7)
X = RNG.standard_normal((3, 4))
LARGE = RNG.standard_normal((40, 50))  # 2,000 elements: more than are looked at one by one


def operation(
    forward: Callable[[np.ndarray], np.ndarray], backward: Callable[..., Any]
) -> Callable[..., Any]:
    """An operation of one input whose backward is ``backward(x, grad_out)``."""

    class Planted(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save(x=x)
            return forward(x)

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            return backward(ctx.saved("x"), grad_out)

    return Planted.apply


def cube(spoil: Callable[[Any], Any] = lambda grad: grad) -> Callable[..., Any]:
    """x^3, with its gradient spoilt."""
    return operation(lambda x: x**3, lambda x, g: spoil(g * 3.0 * x * x))


def one_element(factor: float, place: int = 5) -> Callable[[Any], Any]:
    """Multiply one element of the gradient."""

    def spoil(grad: Any) -> Any:
        spoilt = grad.copy()
        spoilt.flat[place] *= factor
        return spoilt

    return spoil


WRONG: dict[str, Callable[[Any], Any]] = {
    "0.1 percent too large": lambda g: g * 1.001,
    "0.1 percent too small": lambda g: g * 0.999,
    "0.1 percent in one element": one_element(1.001),
    "zero": lambda g: g * 0.0,
    "zero in one element": one_element(0.0),
    "negative": lambda g: -g,
    "doubled": lambda g: g * 2.0,
    "shifted by one column": lambda g: np.roll(g, 1, axis=1),
    "shifted by one row": lambda g: np.roll(g, 1, axis=0),
    "reversed": lambda g: g[::-1, ::-1],
    "averaged": lambda g: np.full_like(g, g.mean()),
    "with a constant added": lambda g: g + 1e-3,
    "nan in one element": one_element(np.nan),
    "rounded to float16": lambda g: g.astype(np.float16).astype(np.float64),
}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_is_refused(name: str, seed: int) -> None:
    report = gradcheck(cube(WRONG[name]), X, raise_exception=False, seed=seed)
    assert not report
    assert report.verdict == "FAILED"
    with pytest.raises(GradcheckError, match="FAILED"):
        gradcheck(cube(WRONG[name]), X, seed=seed)


@pytest.mark.parametrize("name", [name for name in WRONG if "one element" not in name])
def test_a_gradient_that_is_wrong_all_over_is_refused_in_a_large_input_too(name: str) -> None:
    assert not gradcheck(cube(WRONG[name]), LARGE, raise_exception=False)
    assert not gradcheck(cube(WRONG[name]), X, directions=2, raise_exception=False)


def test_one_clearly_wrong_element_of_thousands_shows_in_every_direction() -> None:
    for place in (0, 777, LARGE.size - 1):
        report = gradcheck(cube(one_element(3.0, place)), LARGE, raise_exception=False)
        assert report.inputs[0].wrong_directions == 4


def test_a_transposed_gradient_is_refused_though_its_shape_is_right() -> None:
    square = RNG.standard_normal((4, 4))
    assert not gradcheck(cube(lambda g: np.swapaxes(g, 0, 1)), square, raise_exception=False)
    weight = RNG.standard_normal((3, 3))

    class Linear(Function):
        @staticmethod
        def forward(ctx: Any, x: Any, weight: Any) -> Any:
            ctx.save(x=x, weight=weight)
            return x @ weight.T

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            x, weight = ctx.saved("x", "weight")
            return grad_out @ weight, x.T @ grad_out  # should be grad_out.T @ x

    report = gradcheck(Linear.apply, (RNG.standard_normal((3, 3)), weight), raise_exception=False)
    assert [check.passed for check in report.inputs] == [True, False]
    assert report.caption() == "gradcheck of Linear: FAILED, the gradient by weight is wrong."


def test_a_gradient_kept_from_an_earlier_call_is_refused() -> None:
    kept: dict[str, Any] = {}

    def first_point(x: Any, g: Any) -> Any:
        return g * 3.0 * kept.setdefault("x", x.copy()) ** 2

    def first_cotangent(x: Any, g: Any) -> Any:
        return kept.setdefault("g", g.copy()) * 3.0 * x * x

    def last_gradient(x: Any, g: Any) -> Any:
        before, kept["before"] = kept.get("before", 0.0 * g), g * 3.0 * x * x
        return before

    for backward in (first_point, first_cotangent, last_gradient):
        kept.clear()
        planted = operation(lambda x: x**3, backward)
        assert not gradcheck(planted, X, raise_exception=False), backward.__name__


def test_a_backward_that_adds_up_over_its_calls_is_refused() -> None:
    total = np.zeros_like(X)

    def backward(x: Any, g: Any) -> Any:
        total[...] += g * 3.0 * x * x
        return total.copy()

    assert not gradcheck(operation(lambda x: x**3, backward), X, raise_exception=False)


def test_a_backward_without_grad_out_is_refused_even_for_a_single_number() -> None:
    planted = operation(lambda x: (x**3).sum(), lambda x, g: 3.0 * x * x)
    assert not gradcheck(planted, X, raise_exception=False)


def test_a_mask_taken_from_the_sign_of_grad_out_is_refused() -> None:
    x = RNG.uniform(0.5, 1.0, 6)  # relu is the identity here
    planted = operation(lambda x: np.maximum(x, 0), lambda x, g: g * (g > 0))
    assert not gradcheck(planted, x, raise_exception=False)


def test_it_is_not_blind_to_what_the_sum_of_the_outputs_cannot_see() -> None:
    """The sum of a softmax is 1 and that of a normalised batch 0: both have no gradient."""
    for forward in (
        lambda x: np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True),
        lambda x: (x - x.mean(axis=0)) / x.std(axis=0),
    ):
        planted = operation(forward, lambda x, g: 0.0 * g)
        assert not gradcheck(planted, X, raise_exception=False)
        assert not gradcheck(planted, LARGE, raise_exception=False)


def test_a_changed_grad_out_is_reported() -> None:
    def backward(x: Any, g: Any) -> Any:
        g.setflags(write=True)
        g *= 3.0 * x * x
        return g

    report = gradcheck(operation(lambda x: x**3, backward), X, raise_exception=False)
    assert not report
    assert "changes grad_out in place" in str(report)


def test_a_cut_graph_is_named() -> None:
    report = gradcheck(lambda x: x * 2.0 + mr.Tensor(x.data**2), X, raise_exception=False)
    assert not report
    report = gradcheck(lambda x, y: x + mr.Tensor(y.data**2), (X, X), raise_exception=False)
    assert [check.passed for check in report.inputs] == [True, False]
    assert "y: no gradient reaches it: did a backward return None" in str(report)
    report = gradcheck(lambda x: mr.Tensor(x.data**2), X, raise_exception=False)
    assert not report


def test_a_constant_function_has_a_gradient_of_zero() -> None:
    assert gradcheck(lambda x: mr.ones(3).to("float64"), X)
    assert gradcheck(lambda x: x - x, X)


SMALLER = RNG.standard_normal(4)


@pytest.mark.parametrize("factor", [1e4, 1e9])
@pytest.mark.parametrize("name", ["0.1 percent too large", "zero"])
def test_an_output_is_judged_by_its_own_size_and_not_by_that_of_a_larger_one(
    name: str, factor: float
) -> None:
    for larger in (lambda x: x * factor, lambda x: x + 1e6 * factor):
        report = gradcheck(
            lambda x, f=larger: (f(x), cube(lambda g: WRONG[name](g))(x)),
            SMALLER,
            raise_exception=False,
        )
        assert report.inputs[0].wrong_elements == 4


def test_an_element_of_size_one_is_seen_beside_one_of_1e8() -> None:
    def square(x: Any, g: Any) -> Any:
        return g * 2.0 * x * np.where(np.abs(x) < 10.0, 0.0, 1.0)

    x = np.array([1e8, 1.0])
    assert not gradcheck(operation(lambda x: x**2, square), x, raise_exception=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda g: np.minimum(g, 0.0),
        lambda g: np.maximum(g, 0.0),
        lambda g: -np.abs(g),
        lambda g: np.clip(g, -1.0, 1.0),
        lambda g: np.clip(g, -10.0, 10.0),
        lambda g: np.where(np.abs(g) < 1e-4, 0.0, g),
    ],
)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_backward_that_is_not_linear_in_grad_out_is_refused(change: Any, seed: int) -> None:
    for forward in (lambda x: x**3, lambda x: (x**3).sum()):
        planted = operation(forward, lambda x, g: change(g) * 3.0 * x * x)
        assert not gradcheck(planted, SMALLER, raise_exception=False, seed=seed)


@pytest.mark.parametrize("bad", [1, 2, 3, 4])
@pytest.mark.parametrize("x", [SMALLER, LARGE], ids=["small", "large"])
def test_a_single_call_that_is_wrong_is_refused(bad: int, x: np.ndarray) -> None:
    calls = []

    def backward(x: Any, g: Any) -> Any:
        calls.append(1)
        return g * 3.0 * x * x * (2.0 if len(calls) == bad else 1.0)

    assert not gradcheck(operation(lambda x: x**3, backward), x, raise_exception=False)


def test_an_output_inside_an_output_is_checked_too() -> None:
    """As the state of a recurrent layer, (out, (h, c))."""
    planted = cube(WRONG["doubled"])
    report = gradcheck(lambda x: (x * x, [planted(x), (x,)]), SMALLER, raise_exception=False)
    assert report.outputs == [(4,), (4,), (4,)]
    assert not report


def test_a_jump_is_no_kink() -> None:
    planted = operation(lambda x: (x >= 0.5) * 1.0, lambda x, g: g * 3.0)
    report = gradcheck(planted, np.array([0.5, 0.2]), raise_exception=False)
    assert report.kinks == []
    assert report.inputs[0].wrong_elements == 2


def test_at_a_jump_the_side_that_does_not_jump_decides() -> None:
    """The gradient of relu jumps at 0, where its own derivative is that of the left side."""
    assert gradgradcheck(F.relu, np.array([0.0, 1.0, -1.0]))
    assert gradgradcheck(F.abs, np.array([0.3, 1.0, -1.0]))


def test_small_outputs_that_are_others_without_a_graph_are_reported() -> None:
    def two_faced(x: Any) -> Any:
        return (x**3) * (1e-13 if x.requires_grad else 2e-13)

    assert "are others when a graph is recorded" in str(
        gradcheck(two_faced, SMALLER, raise_exception=False)
    )


# --- what it lets through ---


def test_right_gradients_pass_at_every_scale_of_input_and_output() -> None:
    for size in (1e-6, 1e-3, 1.0, 1e3, 1e6):
        for factor in (1e-9, 1.0, 1e9):
            report = gradcheck(lambda x, f=factor: x**3 * f, X * size, raise_exception=False)
            assert report, f"{size} {factor}\n{report}"
            wrong = gradcheck(
                lambda x, f=factor: cube(one_element(1.001))(x) * f, X * size, raise_exception=False
            )
            assert not wrong, f"{size} {factor}"


@pytest.mark.parametrize(
    ("fn", "x"),
    [
        (lambda x: (x * 1e12, (x * 20.0).tanh(), x * 1e-12), [0.1, -0.2, 0.01]),
        (lambda x: x**3, [1e-8, 1e8, 1.0]),
        (lambda x: x.log(), [1e-8, 1e8, 1.0]),
        (lambda x: x.sqrt(), [1e-6, 1.0, 100.0]),
        (lambda x: 1.0 / x, [1e-6, 1.0, -3.0]),
        (lambda x: F.log_softmax(x * 100.0 + 1e5, 0), [0.1, -0.2, 1.0]),
        (lambda x: F.relu(x).sum() + (x * 1e3).sum(), [0.0, 1.0, -1.0]),
    ],
)
def test_sizes_that_do_not_match_are_no_reason_to_refuse(fn: Any, x: list[float]) -> None:
    assert gradcheck(fn, np.array(x))


def test_several_outputs_and_inputs_are_checked_together() -> None:
    weight = RNG.standard_normal((2, 4))

    def both(x: Any, weight: Any) -> Any:
        return F.linear(x, weight), (x * x).sum(0), F.max(x, 1)

    report = gradcheck(both, (X, weight))
    assert report.outputs == [(3, 2), (4,), (3,)]
    assert [check.name for check in report.inputs] == ["x", "weight"]
    assert gradcheck(lambda x: {"a": x * x, "b": x}, X).outputs == [(3, 4), (3, 4)]

    def second_wrong(x: Any) -> Any:
        return x * x, cube(WRONG["0.1 percent too large"])(x)

    place = gradcheck(second_wrong, X, raise_exception=False).worst
    assert place is not None
    assert place[1].output.startswith("out[1]")


def test_integers_and_settings_are_passed_on_as_they_are() -> None:
    targets = np.array([1, 0, 3])
    assert [c.name for c in gradcheck(F.cross_entropy, (X, targets)).inputs] == ["input"]
    assert gradcheck(F.sum, (X, 1))
    assert gradcheck(F.linear, (X, RNG.standard_normal((2, 4)), None))


def test_what_requires_grad_is_checked_and_else_all_floating_point_inputs() -> None:
    def product(a: Any, b: Any) -> Any:
        return a * b

    x, y = mr.tensor(X, requires_grad=True), mr.tensor(X + 1.0)
    assert [c.name for c in gradcheck(product, (x, y)).inputs] == ["a"]
    assert [c.name for c in gradcheck(product, (x.detach(), y)).inputs] == ["a", "b"]


def test_float32_inputs_are_checked_in_float64() -> None:
    assert gradcheck(F.tanh, mr.randn(3, 4))
    assert gradcheck(F.tanh, X.astype(np.float32))


def test_empty_and_zero_dimensional_inputs_pass() -> None:
    assert gradcheck(F.exp, np.zeros((0, 3)))
    assert gradcheck(F.exp, np.array(0.3))
    assert gradgradcheck(F.exp, np.array(0.3))


def test_a_module_is_checked_with_its_parameters_and_left_as_it_was() -> None:
    mr.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten())
    before = {name: value.copy() for name, value in model.state_dict().items()}
    x = mr.randn(2, 1, 4, 4)
    report = gradcheck(model, x)
    assert [check.name for check in report.inputs] == [
        "input",
        "0.weight",
        "0.bias",
        "1.weight",
        "1.bias",
    ]
    for name, value in model.state_dict().items():
        assert value.dtype == before[name].dtype
        np.testing.assert_array_equal(value, before[name])
    assert all(p.grad is None for p in model.parameters())
    model[0].bias.requires_grad_(False)
    assert "0.bias" not in [check.name for check in gradcheck(model, x).inputs]


def test_nothing_global_is_touched() -> None:
    legacy, own = np.random.get_state()[1].copy(), mr.rng.get_state()  # noqa: NPY002
    point = mr.tensor(X, requires_grad=True)
    kept = point.data.copy()
    settings = np.geterr()
    gradcheck(F.tanh, point)
    np.testing.assert_array_equal(np.random.get_state()[1], legacy)  # noqa: NPY002
    assert mr.rng.get_state() == own
    assert np.geterr() == settings
    assert point.grad is None
    np.testing.assert_array_equal(point.data, kept)


def test_the_same_seed_gives_the_same_report() -> None:
    first, second = (str(gradcheck(F.tanh, LARGE, seed=4)) for _ in range(2))
    assert first == second


# --- second derivatives ---


def test_a_wrong_second_derivative_is_refused_though_the_first_is_right() -> None:
    class Detached(Function):
        """x^2 with the right first derivative, as a constant."""

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_constant(slope=2.0 * x)
            return x * x

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            return grad_out * ctx.saved("slope")

    assert gradcheck(Detached.apply, X)
    report = gradgradcheck(Detached.apply, X, raise_exception=False)
    assert [(c.name, c.passed) for c in report.inputs] == [("x", False), ("grad_out", True)]
    assert gradgradcheck(lambda x: x * x, X)


def test_a_gradient_that_differs_under_create_graph_is_refused() -> None:
    class TwoFaced(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save(x=x)
            return x**3

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            x = ctx.saved("x")
            return grad_out * x * x * (3.0 if not ctx.create_graph else 3.003)

    assert gradcheck(TwoFaced.apply, X)
    assert not gradgradcheck(TwoFaced.apply, X, raise_exception=False)


def test_grad_outputs_can_be_given() -> None:
    cotangent = RNG.standard_normal(X.shape)
    assert gradgradcheck(F.tanh, X, cotangent)
    assert gradgradcheck(F.tanh, X, (cotangent,))
    with pytest.raises(UsageError, match=r"grad_outputs have shapes \[\(2,\)\]"):
        gradgradcheck(F.tanh, X, np.zeros(2))


# --- kinks ---


def test_a_kink_is_reported_and_no_error() -> None:
    report = gradcheck(F.relu, np.array([0.0, 1.0, -1.0]))
    ((name, place),) = report.kinks
    assert (name, place.index, place.analytic) == ("input", (0,), 0.0)
    assert place.sides == pytest.approx((0.0, 1.0))
    assert "kink at input[0]: its two sides have slopes from 0 to 1" in str(report)
    assert np.isnan(report.inputs[0].ratios[0])


@pytest.mark.parametrize(
    ("fn", "x", "kinks"),
    [
        (F.abs, [0.0, 2.0], 1),
        (lambda x: F.clamp(x, -1.0, 1.0), [-1.0, 0.3, 1.0], 2),
        (lambda x: F.max(x, 0)[0], [1.0, 1.0, 0.5], 2),
        (lambda x: F.amax(x, 0), [1.0, 1.0, 0.5], 2),
        (lambda x: F.leaky_relu(x, 0.1), [0.0, 1.0], 1),
    ],
)
def test_kinks_of_the_library_are_kinks(fn: Any, x: list[float], kinks: int) -> None:
    report = gradcheck(fn, np.array(x))
    assert len(report.kinks) == kinks


def test_the_gradient_at_a_kink_may_be_any_between_the_sides_and_no_other() -> None:
    for slope, fine in ((0.0, True), (0.5, True), (1.0, True), (1.1, False), (-0.1, False)):
        planted = operation(
            lambda x: np.maximum(x, 0),
            lambda x, g, s=slope: g * np.where(x == 0.0, s, x > 0),
        )
        assert bool(gradcheck(planted, np.array([0.0, 1.0]), raise_exception=False)) is fine


def test_a_small_kink_beside_a_large_slope_is_a_kink() -> None:
    report = gradcheck(lambda x: x[0] * 1000.0 + F.relu(x[1]), np.array([1.0, 0.0]))
    ((_, place),) = report.kinks
    assert place.index == (1,)
    assert place.sides == pytest.approx((0.0, 1.0))


def test_the_output_that_has_the_kink_is_the_one_that_is_named() -> None:
    report = gradcheck(lambda x: (x**3 + 5.0 * x, F.relu(x)), np.array([0.0, 1.0]))
    ((_, place),) = report.kinks
    assert place.output == "out[1][0]"
    assert place.sides == pytest.approx((0.0, 1.0))


def test_a_single_kink_in_a_large_input_is_no_error() -> None:
    x = LARGE.copy()
    x[3, 3] = 0.0
    assert gradcheck(F.relu, x)


def test_what_a_kink_leaves_free_counts_in_what_may_escape() -> None:
    x = LARGE.copy()
    free = gradcheck(F.relu, x).inputs[0].sure_above
    x[3, 3] = 0.0
    kinked = gradcheck(F.relu, x).inputs[0].sure_above
    assert free is not None
    assert kinked is not None
    assert kinked > 100.0 * free


def test_a_gradient_outside_the_sides_of_a_kink_is_refused_and_the_kink_is_said() -> None:
    """The chain rule gives 0 - 2 * 0 here, and the slopes are 1 and 2."""
    report = gradcheck(
        lambda x: F.relu(x) - F.relu(-x) * 2.0, np.array([0.0, 1.0]), raise_exception=False
    )
    assert not report
    assert "there is a kink there, and the gradient lies outside" in str(report)


def test_a_wrong_gradient_is_no_kink_and_a_near_kink_no_error() -> None:
    planted = operation(lambda x: np.maximum(x, 0), lambda x, g: g * (x > -0.5))
    report = gradcheck(planted, np.array([-0.3, 1.0, -1.0]), raise_exception=False)
    assert (report.kinks, report.inputs[0].wrong_elements) == ([], 1)
    assert gradcheck(F.relu, np.array([1e-5, -1e-5, 3e-4, 1.0])).kinks == []


def test_a_curve_is_no_kink() -> None:
    assert gradcheck(lambda x: (x * 300.0).tanh(), np.array([1e-3, -2e-3, 0.0])).kinks == []


# --- the report ---


def test_the_worst_element_is_named_with_its_numbers() -> None:
    report = gradcheck(cube(one_element(1.001)), X, raise_exception=False)
    assert report.worst is not None
    name, place = report.worst
    assert (name, place.index, place.output) == ("x", (1, 1), "out[1, 1]")
    assert place.numeric == pytest.approx(3.0 * X[1, 1] ** 2, rel=1e-7)
    assert place.analytic == pytest.approx(3.003 * X[1, 1] ** 2, rel=1e-12)
    assert place.relative_error == pytest.approx(1e-3, rel=2e-3)
    assert report.inputs[0].wrong_elements == 1
    text = str(report)
    assert "worst: x[1, 1], its effect on out[1, 1]: analytic " in text
    assert "relative error 1.0e-03" in text
    rows = text[text.index("error of x as a share") :].splitlines()[1:4]
    assert rows[1][2:6] == "·▓··"
    assert [row.count("▓") for row in rows] == [0, 1, 0]


def test_the_error_over_the_step_is_a_v_where_the_gradient_is_right() -> None:
    check = gradcheck(F.exp, np.array([0.3, 1.0])).inputs[0]
    steps, errors = np.array(check.curve).T
    bottom = int(np.argmin(errors))
    assert 1e-7 < steps[bottom] < 1e-3
    slope = np.polyfit(np.log(steps[-6:-1]), np.log(errors[-6:-1]), 1)[0]
    assert slope == pytest.approx(2.0, abs=0.1), "truncation goes with the square of the step"
    assert errors[0] > 1e3 * errors[bottom], "rounding grows as the step shrinks"


def test_it_is_flat_where_the_gradient_is_wrong() -> None:
    check = gradcheck(cube(one_element(1.01)), X, raise_exception=False).inputs[0]
    errors = np.array([error for step, error in check.curve if 1e-9 < step < 1e-4])
    assert errors.max() < 1.01 * errors.min()


def test_the_step_is_chosen_for_each_input() -> None:
    small, large = RNG.standard_normal(3) * 1e-4, RNG.standard_normal(3) * 1e4
    report = gradcheck(lambda a, b: (a * 1e4).exp() + (b * 1e-4).exp(), (small, large))
    steps = [check.step for check in report.inputs]
    assert steps[1] > 1e5 * steps[0]


def test_eps_fixes_the_step() -> None:
    report = gradcheck(F.exp, X, eps=1e-4)
    assert [check.step for check in report.inputs] == [1e-4]
    assert not gradcheck(F.exp, X, eps=0.3, raise_exception=False), "truncation is in the way"
    assert gradcheck(F.relu, np.array([0.0, 1.0]), eps=1e-4).kinks


def test_rtol_and_atol_decide() -> None:
    planted = cube(WRONG["0.1 percent too large"])
    assert gradcheck(planted, X, rtol=2e-3)
    assert gradcheck(planted, X, atol=1.0)
    assert not gradcheck(planted, X, rtol=0.0, atol=0.0, raise_exception=False)


def test_a_large_input_is_sampled_and_the_chance_to_miss_is_said() -> None:
    report = gradcheck(F.tanh, LARGE)
    (check,) = report.inputs
    assert check.directions == 4
    assert 32 <= check.looked_at <= 34
    assert np.isfinite(check.ratios).sum() == check.looked_at
    assert check.chance_to_miss == 1.0 - check.looked_at / 2000
    assert f"{check.chance_to_miss:.1%} if below {check.sure_above:.1e}" in str(report)
    assert "may escape" not in str(gradcheck(F.tanh, X))
    assert gradcheck(F.tanh, X).inputs[0].chance_to_miss == 0.0
    assert gradcheck(F.tanh, LARGE, directions=9).inputs[0].directions == 9


def test_an_error_above_what_is_said_shows_in_every_direction() -> None:
    check = gradcheck(cube(), LARGE).inputs[0]
    assert check.sure_above is not None
    unseen = 1234  # an element that is not looked at by itself
    assert np.isnan(check.ratios.flat[unseen])
    extra = np.zeros(LARGE.shape)
    extra.flat[unseen] = 2.0 * check.sure_above

    def backward(x: Any, g: Any) -> Any:  # linear in g, of which gradcheck takes the half
        return g * 3.0 * x * x + extra * np.sign(g.flat[0]) * 0.5

    report = gradcheck(operation(lambda x: x**3, backward), LARGE, raise_exception=False)
    assert report.inputs[0].wrong_directions == 4


def test_noise_that_cannot_be_judged_is_not_passed() -> None:
    def rounded(x: Any) -> Any:
        return (x**3).to("float32").to("float64")

    report = gradcheck(rounded, X, raise_exception=False)
    assert not report
    assert "too much to judge" in str(report)


def test_numbers_that_are_not_finite_are_reported() -> None:
    report = gradcheck(F.log, np.array([-1.0, 2.0]), raise_exception=False)
    assert not report
    assert "1 of 2 numbers of the output are not finite" in str(report)


# --- refusals ---


@pytest.mark.parametrize(
    ("fn", "inputs", "error", "message"),
    [
        (3, X, UsageError, "fn must be a function of tensors, not int"),
        (F.exp, np.array([1, 2]), UsageError, "nothing to differentiate by"),
        (lambda x: x.data, X, UsageError, "must return a tensor .* it returned ndarray"),
        (lambda x: x.to("float32"), X, DTypeError, "float64 came in and float32 came out"),
        (lambda x: F.dropout(x), X, UsageError, "two calls on the same inputs gave different"),
    ],
)
def test_what_cannot_be_checked_is_refused(
    fn: Any, inputs: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        gradcheck(fn, inputs)


def test_a_function_that_changes_its_input_is_refused() -> None:
    def forward(x: Any) -> Any:
        x.data[...] += 1.0
        return x * x

    with pytest.raises(UsageError, match="changes its input x in place"):
        gradcheck(forward, X)


@pytest.mark.parametrize(
    "setting", [{"eps": 0.0}, {"eps": -1.0}, {"rtol": -1.0}, {"atol": np.nan}, {"directions": 0}]
)
def test_settings_that_make_no_sense_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"{next(iter(setting))} must be"):
        gradcheck(F.exp, X, **setting)


# --- pictures ---


def test_the_figure_has_a_map_and_a_curve_for_each_input() -> None:
    report = gradcheck(F.linear, (X, RNG.standard_normal((2, 4))))
    figure = report.plot()
    assert len(figure.axes) == 5, "two maps, two curves and the scale"
    titles = [axes.get_title(loc="left") for axes in figure.axes[:4]]
    assert titles[0] == "input, looked at all 12"
    assert titles[1].startswith("worst: input[")
    assert figure.axes[3].get_xlabel() == "step h"


def test_the_figure_draws_what_is_wrong_first_and_at_most_six_inputs() -> None:
    xs = tuple(RNG.standard_normal(3) for _ in range(8))

    def fn(*xs: Any) -> Any:
        total = cube(WRONG["doubled"])(xs[-1])
        for x in xs[:-1]:
            total = total + x * x
        return total

    figure = gradcheck(fn, xs, raise_exception=False).plot()
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert sum("looked at" in title for title in titles) == 6
    assert "input 7, looked at all 3" in titles


def test_a_notebook_shows_figure_table_and_words() -> None:
    html = gradcheck(cube(one_element(1.001)), X, raise_exception=False)._repr_html_()
    assert "<svg" in html
    assert "gradcheck of Planted: FAILED" in html
    assert "<table>" in html
    assert "relative error 1.0e-03" in html
    assert "http" not in html.replace("http://www.w3.org", "")


def test_all_of_it_is_plain_data() -> None:
    import json

    report = gradcheck(F.relu, np.array([0.0, 1.0]))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["inputs"][0]["ratios"][0][0] == -1.0
    assert data["passed"] is True


def test_broadcasting_gone_wrong_is_refused() -> None:
    class Add(Function):
        @staticmethod
        def forward(ctx: Any, a: Any, b: Any) -> Any:
            ctx.save(a=a, b=b)
            return a + b

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            a, b = ctx.saved("a", "b")
            return unbroadcast(grad_out, a.shape), unbroadcast(grad_out, b.shape) / 3.0

    report = gradcheck(Add.apply, (X, RNG.standard_normal(4)), raise_exception=False)
    assert [check.passed for check in report.inputs] == [True, False]


@pytest.mark.parametrize("slope", [1.0, 1.01, 3.0])
@pytest.mark.parametrize("offset", [1e10, 1e12, 1e14])
def test_what_is_lost_in_the_rounding_of_large_outputs_is_neither_right_nor_wrong(
    offset: float, slope: float
) -> None:
    planted = operation(lambda x: x + offset, lambda x, g: g * slope)
    report = gradcheck(planted, np.array([0.3, 0.7, -0.2]), raise_exception=False)
    assert not report
    if slope == 1.0 or offset > 1e13:
        assert "cannot be judged" in report.caption()
        assert "not judged" in str(report)
        assert "is nothing large added to it?" in str(report)


@pytest.mark.parametrize("seed", range(6))
def test_a_gradient_that_is_zero_but_for_rounding_passes(seed: int) -> None:
    """A bias before batch norm, and what is taken off again, have no effect."""
    mr.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)
    )
    assert gradcheck(model, rng.standard_normal((4, 1, 6, 6)), seed=seed)
    assert gradgradcheck(model, rng.standard_normal((2, 1, 6, 6)), seed=seed)
    assert gradcheck(lambda x: (x - x.mean()).sum(), rng.standard_normal(8))
    assert gradcheck(lambda x: F.softmax(x).sum(), rng.standard_normal((2, 7)))
    spoilt = operation(lambda x: (x - x.mean()).sum(), lambda x, g: g * 1e-9 * np.ones_like(x))
    assert not gradcheck(spoilt, rng.standard_normal(8), raise_exception=False)


@pytest.mark.parametrize("mean", [1e2, 1e4, 1e6])
def test_numbers_that_differ_by_little_beside_their_size_are_measured_by_that(mean: float) -> None:
    def standardise(x: Any) -> Any:
        centred = x - x.mean(0, keepdim=True)
        return centred / (centred * centred).mean(0, keepdim=True).sqrt()

    assert gradcheck(standardise, RNG.standard_normal((5, 2)) + mean, rtol=1e-4)


def test_paying_each_of_two_equal_maxima_is_refused() -> None:
    """One by one each may have any share from 0 to 1, but not both all of it."""

    def paid(share: Callable[[Any], Any]) -> bool:
        planted = operation(lambda x: x.max(axis=1), lambda x, g: g[:, None] * share(x))
        x = np.array([[1.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        return bool(gradcheck(planted, x, raise_exception=False))

    def equal(x: Any) -> Any:
        return x == x.max(axis=1, keepdims=True)

    assert not paid(equal)
    assert paid(lambda x: equal(x) / equal(x).sum(axis=1, keepdims=True))
    assert paid(lambda x: equal(x) & (np.cumsum(equal(x), axis=1) == 1))


def test_float32_inside_is_suspected() -> None:
    class Single(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save(x=x)
            return np.tanh(x.astype(np.float32)).astype(np.float64)

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            return grad_out * (1.0 - np.tanh(ctx.saved("x")) ** 2)

    for seed in range(5):
        x = np.random.default_rng(seed).standard_normal((2, 3))
        report = gradcheck(Single.apply, x, rtol=1e-7, raise_exception=False)
        assert "the gradient by x cannot be judged" in report.caption()
        assert "is all of it computed in float64" in str(report)


def test_a_point_where_the_function_is_not_finite_is_named_so() -> None:
    report = gradcheck(F.sqrt, np.array([0.0, 1.0]), raise_exception=False)
    assert "the function is not finite around it" in str(report)
    assert report.inputs[0].verdict() == "1 not judged"


def test_a_class_in_place_of_its_apply_is_told_so() -> None:
    class Twice(Function): ...

    with pytest.raises(UsageError, match=r"give it Twice\.apply"):
        gradcheck(Twice, X)
    with pytest.raises(UsageError, match="not the class int"):
        gradcheck(int, X)
    with pytest.raises(UsageError, match="eps must be a number"):
        gradcheck(F.exp, X, eps="small")


def test_what_is_not_finite_is_no_number_in_json() -> None:
    import json

    report = gradcheck(F.log, np.array([-1.0, 2.0]), raise_exception=False)
    json.dumps(report.to_dict(), allow_nan=False)


def test_numpy_on_a_tensor_is_explained() -> None:
    with pytest.raises(TypeError) as caught:
        gradcheck(lambda x: np.exp(x), X)
    assert "use those of minires.functional" in caught.value.__notes__[0]
