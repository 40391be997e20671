"""The error function, which NumPy lacks.

W. J. Cody, "Rational Chebyshev approximations for the error function", Mathematics of Computation
23 (1969): a rational function on each of three intervals of |x|, good to the last bits of float64.
"""

from __future__ import annotations

from minires.device import Array, array_module

__all__ = ["erf"]

# |x| <= 0.46875: erf(x) = x * P(x^2) / Q(x^2), coefficients from the highest power down.
_SMALL_P = (
    1.85777706184603153e-1,
    3.16112374387056560e00,
    1.13864154151050156e02,
    3.77485237685302021e02,
    3.20937758913846947e03,
)
_SMALL_Q = (
    1.0,
    2.36012909523441209e01,
    2.44024637934444173e02,
    1.28261652607737228e03,
    2.84423683343917062e03,
)
# 0.46875 <= |x| <= 4: erfc(x) = exp(-x^2) * P(x) / Q(x).
_MIDDLE_P = (
    2.15311535474403846e-8,
    5.64188496988670089e-1,
    8.88314979438837594e00,
    6.61191906371416295e01,
    2.98635138197400131e02,
    8.81952221241769090e02,
    1.71204761263407058e03,
    2.05107837782607147e03,
    1.23033935479799725e03,
)
_MIDDLE_Q = (
    1.0,
    1.57449261107098347e01,
    1.17693950891312499e02,
    5.37181101862009858e02,
    1.62138957456669019e03,
    3.29079923573345963e03,
    4.36261909014324716e03,
    3.43936767414372164e03,
    1.23033935480374942e03,
)
# |x| >= 4: erfc(x) = exp(-x^2)/x * (1/sqrt(pi) - 1/x^2 * P(1/x^2) / Q(1/x^2)).
_LARGE_P = (
    1.63153871373020978e-2,
    3.05326634961232344e-1,
    3.60344899949804439e-1,
    1.25781726111229246e-1,
    1.60837851487422766e-2,
    6.58749161529837803e-4,
)
_LARGE_Q = (
    1.0,
    2.56852019228982242e00,
    1.87295284992346725e00,
    5.27905102951428412e-1,
    6.05183413124413191e-2,
    2.33520497626869185e-3,
)
_ONE_OVER_SQRT_PI = 0.5641895835477562869


def erf(x: Array) -> Array:
    """erf(x) = 2/sqrt(pi) * integral from 0 to x of exp(-t^2) dt, elementwise.

    >>> import numpy as np
    >>> erf(np.array([-10.0, 0.0, 0.5, 10.0])).round(6)
    array([-1.    ,  0.    ,  0.5205,  1.    ])
    """
    xp = array_module(x)
    size = xp.abs(x)
    small = xp.minimum(size, 0.46875)  # each branch only sees arguments it is made for
    middle = xp.clip(size, 0.46875, 4.0)
    large = xp.clip(size, 4.0, 6.0)  # beyond 6 erf is 1 to the last bit
    square = small * small
    near = small * (_horner(_SMALL_P, square) / _horner(_SMALL_Q, square))
    far = 1.0 - xp.exp(-middle * middle) * (_horner(_MIDDLE_P, middle) / _horner(_MIDDLE_Q, middle))
    inverse = 1.0 / (large * large)
    tail = inverse * (_horner(_LARGE_P, inverse) / _horner(_LARGE_Q, inverse))
    farther = 1.0 - xp.exp(-large * large) / large * (_ONE_OVER_SQRT_PI - tail)
    out = xp.where(size <= 0.46875, near, xp.where(size <= 4.0, far, farther))
    return xp.where(xp.isnan(x), x, xp.copysign(out, x))


def _horner(coefficients: tuple[float, ...], x: Array) -> Array:
    value = coefficients[0]
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return value
