"""What theory says of gradients in deep stacks at initialisation: the formulas, with their sources.

All are about stacks of equal layers with He's initialisation, wide enough that averages over units
are what is expected of them, before any training.  A layer is batch norm (or nothing), ReLU,
weights.  ``python -m tests.proofs.theory`` prints them beside what :func:`minires.models.stack`
does.

Gradients go backward through a layer as g_l = D W^T g_{l+1} / sigma, with D the diagonal of the
gates (1 where a unit is on), W the weights, of variance 2/width, and sigma what batch norm divides
by.  Half of the units are on, so that D W^T alone keeps the size: |g_l|^2 = 1/2 * 2 * |g_{l+1}|^2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from minires.errors import UsageError

__all__ = [
    "batch_norm_growth",
    "border_factor",
    "border_factors",
    "both_on",
    "gradient_correlation",
    "independent_gates_correlation",
    "relu_correlation",
    "scale_growth",
    "steady_border_factor",
]

# Of relu(x) with x standard normal: the variance, 1/2 - 1/(2 pi), times the 2 of He's weights.
_CENTRED = (math.pi - 1.0) / math.pi


def batch_norm_growth() -> float:
    """The factor a layer by which batch norm makes the gradient grow backward: sqrt(pi/(pi - 1)).

    For wide plain ReLU stacks and large batches.  A normalised unit x is standard normal over the
    batch; relu(x) has the variance 1/2 - 1/(2 pi) there, since batch norm does not count the mean;
    He's weights double it.  So the next batch norm divides by sigma^2 = (pi - 1)/pi < 1, and the
    gradient with it.

    Gradient explosion by batch norm is the result of Yang et al. 2019, "A mean field theory of
    batch normalization"; the argument above is the limit of large batches alone.

    >>> round(batch_norm_growth(), 4)
    1.2112
    """
    return 1.0 / math.sqrt(_CENTRED)


def scale_growth(scale: float, layers: int) -> float:
    """|g_1| / |g_{L+1}| over ``layers`` dense layers, not normalised: scale^L.

    ``scale`` multiplies He's initialisation, which itself keeps the norm (He et al. 2015, "Delving
    deep into rectifiers", equation 14).

    >>> scale_growth(0.5, 10)
    0.0009765625
    """
    return math.pow(scale, layers)


def border_factor(size: int, scale: float = 1.0) -> float:
    """What a 3x3 convolution with zero padding does to a gradient spread evenly over the image.

    scale * sqrt(mean number of taps inside / 9).  A pixel at the border has fewer neighbours inside
    than the nine that He's initialisation counts on: (3n - 2)^2 / n^2 on average on n x n pixels.

    >>> [round(border_factor(size), 3) for size in (8, 4, 2)]
    [0.917, 0.833, 0.667]
    """
    return scale * (3 * _size(size) - 2) / (3 * size)


def border_factors(size: int, layers: int, scale: float = 1.0) -> list[float]:
    """The factor of each of ``layers`` convolutions, the last layer of the stack first.

    The energy at a pixel is 1/9 of the sum of those next to it and its own, which are e -> A e / 9
    with A = T x T and T the matrix with ones on and beside the diagonal.  So the k-th factor, from
    an even gradient on, is scale * sqrt(sum(A^k 1) / (9 sum(A^(k-1) 1))): the first is
    :func:`border_factor`, and as the gradient gathers in the middle, where the border takes less,
    they rise to :func:`steady_border_factor`.

    >>> [round(factor, 3) for factor in border_factors(8, 4)]
    [0.917, 0.939, 0.946, 0.951]
    """
    taps = np.eye(_size(size)) + np.eye(size, k=1) + np.eye(size, k=-1)
    row = np.ones(size)  # of an image that is row x row
    factors = []
    for _ in range(layers):
        new = taps @ row
        factors.append(scale * float(new.sum() / row.sum()) / 3.0)
        row = new / new.sum()
    return factors


def steady_border_factor(size: int, scale: float = 1.0) -> float:
    """What is left of the factors of :func:`border_factors` many layers on.

    scale * sqrt(largest eigenvalue of A / 9) = scale * (1 + 2 cos(pi / (n + 1))) / 3.

    >>> [round(steady_border_factor(size), 3) for size in (8, 4, 2)]
    [0.96, 0.873, 0.667]
    """
    return scale * (1.0 + 2.0 * math.cos(math.pi / (_size(size) + 1))) / 3.0


def both_on(c: float) -> float:
    """2 P(both units on), of two standard normal numbers with correlation c: 1 - arccos(c)/pi.

    It is 1/2 for c = 0, and what a gradient's correlation is multiplied by on its way through a
    ReLU layer.  The arc-cosine kernel of order 0 (Cho and Saul 2009, "Kernel methods for deep
    learning").

    >>> both_on(0.0), both_on(1.0)
    (0.5, 1.0)
    """
    return 1.0 - math.acos(_cosine(c)) / math.pi


def relu_correlation(c: float) -> float:
    """The cosine of relu(x) and relu(y), with x, y standard normal of correlation c.

    (sqrt(1 - c^2) + c (pi - arccos c)) / pi, never below c: inputs grow alike with depth.
    The arc-cosine kernel of order 1 (Cho and Saul 2009, "Kernel methods for deep learning").

    >>> round(relu_correlation(0.0), 4), relu_correlation(1.0)
    (0.3183, 1.0)
    """
    c = _cosine(c)
    return (math.sqrt(1.0 - c * c) + c * (math.pi - math.acos(c))) / math.pi


def independent_gates_correlation(kind: str, norm: str | None, depth: int) -> float:
    """The correlation of the gradients of two inputs whose units are on independently.

    Each unit is on with probability 1/2 for either input and 1/4 for both.  Then a layer multiplies
    the energy of a gradient by 1 and the product of two gradients by 1/2; a skip adds 1 to both.
    Balduzzi et al. 2017, "The shattered gradients problem":

    - plain: (1/2)^L (theorem 1), whether normalised or not;
    - residual, without normalisation: ((1 + 1/2) / (1 + 1))^L = (3/4)^L (theorem 2);
    - residual, with batch norm in the branches: about 1/sqrt(L) (theorem 3).  Each branch adds 1 to
      the variance, so that block l divides by sqrt(l), and what is exact is the product over l from
      1 to L of (1 + 1/(2l)) / (1 + 1/l), which becomes 2/sqrt(pi L) = 1.13/sqrt(L) for large L.

    >>> independent_gates_correlation("residual", None, 2)
    0.5625
    >>> round(independent_gates_correlation("residual", "batch", 10_000), 4)
    0.0113
    """
    _check_kind(kind, norm)
    if kind == "plain":
        return 0.5**depth
    if norm is None:
        return 0.75**depth
    return math.prod((1.0 + 0.5 / block) / (1.0 + 1.0 / block) for block in range(1, depth + 1))


def gradient_correlation(kind: str, norm: str | None, depth: int, c: float = 0.0) -> float:
    """The correlation of the gradients of two inputs in an infinitely wide ReLU stack.

    Here the gates are those of the network.  With the correlation c_l of the two inputs at the
    ReLU of layer l, which is ``c`` at the first, the factor of that layer is

    - plain: both_on(c_l), and c_{l+1} = relu_correlation(c_l);
    - residual: (1 + both_on(c_l)) / 2, and c_{l+1} = (c_l + relu_correlation(c_l)) / 2;
    - with batch norm over a batch of inputs that have nothing in common: c_l = 0 in all layers,
      since the mean over the batch, all that ReLU makes them share, is taken away.  So plain
      stacks shatter by exactly 1/2 a layer.  In residual ones block l divides by the variance
      v_l = 1 + (l - 1)(pi - 1)/pi, and its factor is (1 + 1/(2 v_l)) / (1 + 1/v_l).  That falls as
      L^(-pi/(2 pi - 2)) = L^-0.73, a little faster than theorem 3 of Balduzzi et al. 2017, in which
      a branch adds all of 1 to the variance.

    The recursions are those of Poole et al. 2016 ("Exponential expressivity in deep neural networks
    through transient chaos") and Schoenholz et al. 2017 ("Deep information propagation") for ReLU,
    and of Yang and Schoenholz 2017 ("Mean field residual networks") for the skips.

    >>> gradient_correlation("plain", None, 1), round(gradient_correlation("plain", None, 10), 3)
    (0.5, 0.034)
    >>> gradient_correlation("plain", "batch", 10) == 0.5**10
    True
    """
    _check_kind(kind, norm)
    factors = _normalised_factors(kind) if norm else _factors(kind, c)
    return math.prod(next(factors) for _ in range(depth))


def _factors(kind: str, c: float) -> Iterator[float]:
    """Layer by layer, without normalisation."""
    while True:
        yield both_on(c) if kind == "plain" else (1.0 + both_on(c)) / 2.0
        after = relu_correlation(c)
        c = after if kind == "plain" else (c + after) / 2.0


def _normalised_factors(kind: str) -> Iterator[float]:
    """Layer by layer, for inputs that batch norm keeps apart."""
    variance = 1.0
    while True:
        yield 0.5 if kind == "plain" else (1.0 + 0.5 / variance) / (1.0 + 1.0 / variance)
        variance += _CENTRED


def _size(size: int) -> int:
    if size < 1:
        raise UsageError(f"theory: an image has at least 1 x 1 pixels, got size={size}.")
    return size


def _cosine(c: float) -> float:
    if not abs(c) <= 1.0 + 1e-9:
        raise UsageError(f"theory: a correlation is between -1 and 1, got {c}.")
    return min(1.0, max(-1.0, c))


def _check_kind(kind: str, norm: str | None) -> None:
    if kind not in ("plain", "residual") or norm not in ("batch", None):
        raise UsageError(
            f"theory: knows kind 'plain' and 'residual', with norm 'batch' or None; got "
            f"kind={kind!r}, norm={norm!r}."
        )
