"""A gradient has to be derived: measuring it by differences gets no points.

What is allowed lets float32 pass, so central differences of the forward function would be near
enough.  They take two forward passes for every number of the input, and so each task of a gradient
has a larger hidden case for which there is no time.
"""

from __future__ import annotations

import textwrap

import pytest

from minires.course.assignment import find_assignment
from minires.course.cells import join_cells
from minires.course.marking import TaskResult, hidden_cases
from tests.course.conftest import SECRET, Markers, whole

# Every number of x moves by itself; what is measured is a function that returns a number.
BY_DIFFERENCES = """
def by_differences(number, x, step=1e-5):
    x = np.array(x, dtype=np.float64)
    numbers, grad = x.reshape(-1), np.empty(x.size)
    for i in range(x.size):
        middle = numbers[i]
        numbers[i] = middle + step
        above = number(x)
        numbers[i] = middle - step
        grad[i] = (above - number(x)) / (2 * step)
        numbers[i] = middle
    return grad.reshape(x.shape)
"""

# Assignment and task, and the function that takes the place of the solution's.
MEASURED = {
    ("a03", "conv2d_grad_weight"): """
        def conv2d_grad_weight(grad_out, x, weight_shape, stride=1, padding=0, dilation=1):
            def loss(weight):
                return np.vdot(grad_out, conv2d(x, weight, None, stride, padding, dilation))

            return by_differences(loss, np.zeros(weight_shape))
    """,
    ("a03", "col2im"): """
        def col2im(columns, x_shape, KH, KW, stride=1, padding=0, dilation=1):
            def loss(x):
                return np.vdot(columns, im2col(x, KH, KW, stride, padding, dilation))

            return by_differences(loss, np.zeros(x_shape))
    """,
    ("a03", "conv2d_grad_input"): """
        def conv2d_grad_input(grad_out, weight, x_shape, stride=1, padding=0, dilation=1):
            def loss(x):
                return np.vdot(grad_out, conv2d(x, weight, None, stride, padding, dilation))

            return by_differences(loss, np.zeros(x_shape))
    """,
    ("a04", "parameter_gradients"): """
        def parameter_gradients(grad_out, x, eps=1e-5):
            ones = np.ones(x.shape[1])
            by_weight = lambda weight: np.vdot(grad_out, normalize(x, weight, ones, eps))
            by_bias = lambda bias: np.vdot(grad_out, normalize(x, ones, bias, eps))
            return by_differences(by_weight, ones), by_differences(by_bias, ones)
    """,
    ("a04", "grad_input"): """
        def grad_input(grad_out, x, weight, eps=1e-5):
            loss = lambda x: np.vdot(grad_out, normalize(x, weight, 0 * weight, eps))
            return by_differences(loss, x)
    """,
    ("a04", "grad_evaluate"): """
        def grad_evaluate(grad_out, x, running_mean, running_var, weight, eps=1e-5):
            def loss(x, weight, bias):
                return np.vdot(grad_out, evaluate(x, running_mean, running_var, weight, bias, eps))

            bias = 0 * weight
            return (
                by_differences(lambda x: loss(x, weight, bias), x),
                by_differences(lambda weight: loss(x, weight, bias), weight),
                by_differences(lambda bias: loss(x, weight, bias), bias),
            )
    """,
    ("a05", "max_pool2d_grad_input"): """
        def max_pool2d_grad_input(grad_out, x, *how):
            H, W = x.shape[2:]
            apart = x - 1e-5 * np.arange(H * W).reshape(H, W)  # no ties: the first one is larger
            return by_differences(lambda x: np.vdot(grad_out, max_pool2d(x, *how)), apart, 1e-6)
    """,
    ("a05", "avg_pool2d_grad_input"): """
        def avg_pool2d_grad_input(grad_out, x_shape, *how, **more):
            loss = lambda x: np.vdot(grad_out, avg_pool2d(x, *how, **more))
            return by_differences(loss, np.zeros(x_shape))
    """,
    ("a05", "adaptive_avg_pool2d_grad_input"): """
        def adaptive_avg_pool2d_grad_input(grad_out, x_shape):
            loss = lambda x: np.vdot(grad_out, adaptive_avg_pool2d(x, grad_out.shape[2:]))
            return by_differences(loss, np.zeros(x_shape))
    """,
    ("a06", "projection_grads"): """
        def projection_grads(grad_out, x, weight, stride=1):
            def loss(x, weight):
                taken = x[:, :, ::stride, ::stride]
                return np.vdot(grad_out, np.einsum("oc,nchw->nohw", weight[:, :, 0, 0], taken))

            by_x = by_differences(lambda x: loss(x, weight), x)
            return by_x, by_differences(lambda weight: loss(x, weight), weight)
    """,
    ("a06", "residual_grads"): """
        def residual_grads(grad_out, x, w1, w2, w_s=None):
            def loss(x, w1, w2, w_s):
                skip = x if w_s is None else x @ w_s.T
                return np.vdot(grad_out, np.maximum(skip + np.maximum(x @ w1.T, 0) @ w2.T, 0))

            return (
                by_differences(lambda x: loss(x, w1, w2, w_s), x),
                by_differences(lambda w1: loss(x, w1, w2, w_s), w1),
                by_differences(lambda w2: loss(x, w1, w2, w_s), w2),
                None if w_s is None else by_differences(lambda w_s: loss(x, w1, w2, w_s), w_s),
            )
    """,
    ("a08", "mended_linear"): """
        def mended_linear(grad_out, x, weight, bias):
            loss = lambda x, weight, bias: np.vdot(grad_out, linear(x, weight, bias))
            return (
                by_differences(lambda x: loss(x, weight, bias), x),
                by_differences(lambda weight: loss(x, weight, bias), weight),
                by_differences(lambda bias: loss(x, weight, bias), bias),
            )
    """,
    ("a08", "mended_cross_entropy"): """
        def mended_cross_entropy(grad_out, logits, labels):
            loss = lambda logits: np.vdot(grad_out, cross_entropy(logits, labels))
            return by_differences(loss, logits), None
    """,
    ("a08", "mended_row_variance"): """
        def mended_row_variance(grad_out, x):
            return (by_differences(lambda x: np.vdot(grad_out, row_variance(x)), x),)
    """,
    ("a08", "mended_layer_norm"): """
        def mended_layer_norm(grad_out, x, weight, bias, eps=1e-5):
            loss = lambda x, weight, bias: np.vdot(grad_out, layer_norm(x, weight, bias, eps))
            return (
                by_differences(lambda x: loss(x, weight, bias), x),
                by_differences(lambda weight: loss(x, weight, bias), weight),
                by_differences(lambda bias: loss(x, weight, bias), bias),
            )
    """,
    ("a08", "mended_conv2d"): """
        def mended_conv2d(grad_out, x, weight, **settings):
            loss = lambda x, weight: np.vdot(grad_out, conv2d(x, weight, **settings))
            by_x = by_differences(lambda x: loss(x, weight), x)
            return by_x, by_differences(lambda weight: loss(x, weight), weight)
    """,
    ("a08", "mended_max_pool2d"): """
        def mended_max_pool2d(grad_out, x, *how):
            H, W = x.shape[2:]
            apart = x - 1e-5 * np.arange(H * W).reshape(H, W)
            return by_differences(lambda x: np.vdot(grad_out, max_pool2d(x, *how)), apart, 1e-6)
    """,
    ("a08", "mended_residual"): """
        def mended_residual(grad_out, x, w1, w2):
            loss = lambda x, w1, w2: np.vdot(grad_out, residual(x, w1, w2))
            return (
                by_differences(lambda x: loss(x, w1, w2), x),
                by_differences(lambda w1: loss(x, w1, w2), w1),
                by_differences(lambda w2: loss(x, w1, w2), w2),
            )
    """,
}


# One of each assignment always, and the others with -m slow: each uses all the time that it has.
ALWAYS = {"conv2d_grad_input", "grad_input", "max_pool2d_grad_input", "residual_grads"}


def measured(markers: Markers, name: str, task: str) -> TaskResult:
    assignment = find_assignment(name)
    solution = join_cells(assignment.master_cells)
    text = f"{solution}\n{BY_DIFFERENCES}\n{textwrap.dedent(MEASURED[name, task])}"
    tried = hidden_cases(assignment, assignment.task(task), SECRET, "anna")
    return markers.of(assignment).mark(whole(text), assignment.task(task), tried)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        pytest.param(*key, marks=[] if key[1] in ALWAYS else pytest.mark.slow, id="-".join(key))
        for key in MEASURED
    ],
)
def test_a_gradient_measured_by_differences_gets_no_points(
    name: str, task: str, markers: Markers
) -> None:
    result = measured(markers, name, task)
    assert (result.status, result.points) == ("wrong", 0.0), result.message
    assert "a larger one" in result.message  # the cases before it are right
    assert "of processor time" in result.message
