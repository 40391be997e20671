"""What the checks of notebook 04 answer: to stubs, to right attempts, and to usual mistakes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import kernels, nn
from minires.exercises import batch_norm as check

CHANNEL = (0, 2, 3)


def unfilled(*args: Any) -> Any: ...


@pytest.mark.parametrize("name", check.__all__)
@pytest.mark.parametrize("attempt", [unfilled, ...])
def test_the_stub_is_not_yet_and_gets_a_hint(name: str, attempt: Any) -> None:
    verdict = getattr(check, name)(attempt)
    assert verdict.status == "not yet"
    assert verdict.hint


@pytest.mark.parametrize("name", ["statistics", "parameter_gradients", "fold"])
def test_half_of_a_pair_is_not_yet(name: str) -> None:
    verdict = getattr(check, name)(lambda *args: (args[0], None))
    assert verdict.status == "not yet"
    assert "is not there yet" in verdict.message


# --- the statistics ---


def with_loops(x: np.ndarray) -> tuple[list[float], list[float]]:
    means = [float(x[:, c].mean()) for c in range(x.shape[1])]
    return means, [float(((x[:, c] - mu) ** 2).mean()) for c, mu in enumerate(means)]


def test_statistics_may_be_lists_tensors_float32_or_kept_dimensions() -> None:
    assert check.statistics(lambda x: (x.mean(CHANNEL), x.var(CHANNEL))).passed
    assert check.statistics(with_loops).passed
    assert check.statistics(
        lambda x: [x.mean(CHANNEL, keepdims=True), x.var(CHANNEL, keepdims=True)]
    ).passed
    assert check.statistics(
        lambda x: (mr.tensor(x).mean(CHANNEL), mr.tensor(x).var(CHANNEL, correction=0))
    ).passed
    assert check.statistics(lambda x: kernels.batch_norm_stats(x.astype(np.float32))).passed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda x: (x.mean(0), x.var(0)), "one mean for each place"),
        (lambda x: (x.mean((2, 3)), x.var((2, 3))), "instance normalisation"),
        (lambda x: (x.mean((1, 2, 3)), x.var((1, 2, 3))), "layer normalisation"),
        (lambda x: (x.mean(), x.var()), "one mean for all channels"),
        (lambda x: (x.mean(CHANNEL), x.var(CHANNEL, ddof=1)), "unbiased variance"),
        (lambda x: (x.mean(CHANNEL), x.std(CHANNEL)), "standard deviation"),
        (lambda x: (x.mean(CHANNEL), (x**2).mean(CHANNEL)), "not subtracted before squaring"),
        (lambda x: x.mean(CHANNEL), "Return a pair (mean, var)"),
    ],
)
def test_wrong_statistics_hear_what_they_overlook(wrong: Callable[..., Any], told: str) -> None:
    verdict = check.statistics(wrong)
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- the gradients ---


def test_the_gradients_of_weight_and_bias_in_several_styles() -> None:
    assert check.parameter_gradients(
        lambda g, x_hat: ((g * x_hat).sum(CHANNEL), g.sum(CHANNEL))
    ).passed
    assert check.parameter_gradients(
        lambda g, x_hat: (
            [(g[:, c] * x_hat[:, c]).sum() for c in range(g.shape[1])],
            np.einsum("nchw->c", g).astype(np.float32),
        )
    ).passed
    assert check.parameter_gradients(
        lambda g, x_hat: (
            (mr.tensor(g) * mr.tensor(x_hat)).sum(CHANNEL, keepdim=True),
            mr.tensor(g).sum(CHANNEL),
        )
    ).passed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda g, x_hat: (g.sum(CHANNEL), (g * x_hat).sum(CHANNEL)), "in each other's place"),
        (lambda g, x_hat: ((g * x_hat).mean(CHANNEL), g.mean(CHANNEL)), "means where they should"),
        (lambda g, x_hat: ((g * x_hat).sum(0), g.sum(0)), "should have one number a channel"),
        (lambda g, x_hat: (g * x_hat).sum(CHANNEL), "Return a pair"),
    ],
)
def test_wrong_gradients_of_weight_and_bias_are_named(wrong: Callable[..., Any], told: str) -> None:
    verdict = check.parameter_gradients(wrong)
    assert verdict.status == "wrong"
    assert told in verdict.message


def grad_x(
    g: np.ndarray,
    x: np.ndarray,
    weight: np.ndarray,
    eps: float,
    *,
    by_mean: float = 1.0,
    by_var: float = 1.0,
    ddof: int = 0,
) -> np.ndarray:
    scale = 1 / np.sqrt(x.var(CHANNEL, ddof=ddof, keepdims=True) + eps)
    x_hat = (x - x.mean(CHANNEL, keepdims=True)) * scale
    g = (
        g
        - by_mean * g.mean(CHANNEL, keepdims=True)
        - by_var * x_hat * (g * x_hat).mean(CHANNEL, keepdims=True)
    )
    return weight[:, None, None] * scale * g


def by_lines(g: np.ndarray, x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    grad = np.empty_like(x)
    for c in range(x.shape[1]):
        xc, d_hat = x[:, c], g[:, c] * weight[c]
        mean, var = xc.mean(), xc.var()
        d_var = (d_hat * (xc - mean)).sum() * -0.5 * (var + eps) ** -1.5
        d_mean = -d_hat.sum() / np.sqrt(var + eps)
        grad[:, c] = d_hat / np.sqrt(var + eps) + (d_var * 2 * (xc - mean) + d_mean) / xc.size
    return grad


def by_engine(g: np.ndarray, x: np.ndarray, weight: np.ndarray, eps: float) -> Any:
    leaf = mr.tensor(x, requires_grad=True)
    out = F.batch_norm(leaf, None, None, mr.tensor(weight), None, training=True, eps=eps)
    return mr.grad(out, leaf, grad_outputs=mr.tensor(g))[0]


def test_the_gradient_by_x_in_short_by_lines_and_by_the_engine() -> None:
    assert check.grad_x(grad_x).passed
    assert check.grad_x(by_lines).passed
    assert check.grad_x(by_engine).passed


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda *a: grad_x(*a, by_mean=0.0), "leaves out the path through the mean"),
        (lambda *a: grad_x(*a, by_var=0.0), "leaves out the path through the variance"),
        (lambda *a: grad_x(*a, by_mean=0.0, by_var=0.0), "takes mean and variance for constants"),
        (lambda *a: grad_x(*a, ddof=1), "divides by M - 1"),
        (lambda g, x, w, eps: grad_x(g, x, np.ones(len(w)), eps), "leaves out the factor weight"),
        (lambda g, x, w, eps: grad_x(g, x, w, 0.0), "leaves out eps"),
        (lambda g, x, w, eps: grad_x(g, x, w, eps).sum(0), "should have the shape of x"),
    ],
)
def test_a_wrong_gradient_by_x_is_named(wrong: Callable[..., Any], told: str) -> None:
    verdict = check.grad_x(wrong)
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- the running variance ---


def by_the_layer(running_var: np.ndarray, x: np.ndarray, momentum: float) -> Any:
    layer = nn.BatchNorm2d(len(running_var), momentum=momentum)
    layer.load_state_dict({**layer.state_dict(), "running_var": running_var.astype(np.float32)})
    layer(mr.tensor(x.astype(np.float32)))
    return layer.running_var


def test_the_running_variance_by_hand_and_by_the_layer() -> None:
    assert check.running_variance(
        lambda old, x, momentum: old + momentum * (x.var(CHANNEL, ddof=1) - old)
    ).passed
    assert check.running_variance(by_the_layer).passed


def in_place(old: np.ndarray, x: np.ndarray, momentum: float) -> np.ndarray:
    old *= 1 - momentum
    old += momentum * x.var(CHANNEL, ddof=1)
    return old


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda old, x, p: (1 - p) * old + p * x.var(CHANNEL), "the biased one here"),
        (
            lambda old, x, p: p * old + (1 - p) * x.var(CHANNEL, ddof=1),
            "Momentum weights the old value here",
        ),
        (lambda old, x, p: p * old + (1 - p) * x.var(CHANNEL), "should be divided by m - 1"),
        (lambda old, x, p: old + p * x.var(CHANNEL, ddof=1), "keeps its whole weight"),
        (lambda old, x, p: x.var(CHANNEL, ddof=1), "the old value is forgotten"),
        (lambda old, x, p: (1 - p) * old + p * x.std(CHANNEL, ddof=1), "standard deviation"),
        (in_place, "changes an array that it was given"),
    ],
)
def test_a_wrong_running_variance_hears_what_it_overlooks(
    wrong: Callable[..., Any], told: str
) -> None:
    verdict = check.running_variance(wrong)
    assert verdict.status == "wrong"
    assert told in verdict.message


# --- folding ---


def folded(
    weight: np.ndarray,
    bias: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    var: np.ndarray,
    eps: float,
) -> tuple[np.ndarray, np.ndarray]:
    scale = gamma / np.sqrt(var + eps)
    return weight * scale[:, None, None, None], (bias - mean) * scale + beta


def filter_by_filter(*args: Any) -> tuple[list[Any], list[float]]:
    weight, bias, gamma, beta, mean, var, eps = args
    filters, shifts = [], []
    for o in range(len(weight)):
        scale = gamma[o] / (var[o] + eps) ** 0.5
        filters.append((scale * weight[o]).tolist())
        shifts.append(scale * bias[o] + beta[o] - scale * mean[o])
    return filters, shifts


def test_a_folded_convolution_passes_and_gives_what_the_two_layers_give() -> None:
    assert check.fold(folded).passed
    assert check.fold(filter_by_filter).passed
    rng = np.random.default_rng(7)
    x, weight = rng.standard_normal((2, 3, 5, 5)), rng.standard_normal((4, 3, 3, 3))
    bias, gamma, beta, mean = rng.standard_normal((4, 4))
    var = rng.uniform(0.5, 2.0, 4)
    two = F.batch_norm(F.conv2d(mr.tensor(x), weight, bias), mean, var, gamma, beta)
    one = kernels.conv2d(x, *folded(weight, bias, gamma, beta, mean, var, 1e-5))
    np.testing.assert_allclose(one, two.numpy(), rtol=0, atol=1e-12)


def scaled_along(*shape: int) -> Callable[..., Any]:
    """The right bias, and a weight whose scale lies in another axis than the first."""

    def attempt(*args: Any) -> Any:
        weight, _, gamma, _, _, var, eps = args
        return weight * (gamma / np.sqrt(var + eps)).reshape(shape), folded(*args)[1]

    return attempt


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (lambda *a: (folded(*a)[0], a[3] - a[4] * a[2] / np.sqrt(a[5] + a[6])), "bias of the conv"),
        (lambda *a: (folded(*a)[0], folded(*a)[1] * 0 + a[1]), "bias is as it was"),
        (lambda *a: (folded(*a)[0], folded(*a)[1] - a[3]), "beta is missing"),
        (lambda *a: (a[0], folded(*a)[1]), "weight is as it was"),
        (lambda *a: folded(*a[:6], 0.0), "eps is left out"),
        (scaled_along(-1, 1, 1), "second axis"),
        (scaled_along(-1), "columns of the kernel"),
        (lambda w, b, g, *a: folded(w, b, np.ones(len(g)), *a), "gamma is missing"),
        (lambda *a: folded(*a)[0], "Return a pair"),
    ],
)
def test_a_wrong_fold_hears_what_it_overlooks(wrong: Callable[..., Any], told: str) -> None:
    verdict = check.fold(wrong)
    assert verdict.status == "wrong"
    assert told in verdict.message
