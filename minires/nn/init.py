"""Initialisation, in place; drawn from the default generator unless one is given.

The standard deviations of ``kaiming`` are those of He et al. 2015 ("Delving deep into rectifiers",
equations 10 and 14): a ReLU halves the second moment, so the variance is 2/fan instead of 1/fan.
Those of ``xavier`` are from Glorot and Bengio 2010, equations 12 and 16: a compromise between the
signal forward and the gradient backward.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minires.autograd import guard
from minires.autograd.tensor import Tensor
from minires.device import device_of, is_array, to_device
from minires.errors import DTypeError, ShapeError, UsageError, describe
from minires.kernels.checks import number, whole
from minires.rng import default_generator

__all__ = [
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "fans",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight: how many numbers each output reads, and each input reaches.

    >>> fans((16, 3, 3, 3)), fans((10, 64))
    ((27, 144), (64, 10))
    """
    if len(shape) < 2:
        raise ShapeError(f"init: a fan needs a weight of two dimensions or more, not {shape}.")
    taps = math.prod(shape[2:])
    return shape[1] * taps, shape[0] * taps


def calculate_gain(nonlinearity: str, a: float = 0.0) -> float:
    """What the standard deviation is multiplied by to make up for the nonlinearity.

    >>> calculate_gain("relu") == math.sqrt(2)
    True
    """
    a = number(a, "init: a")
    gains = {
        "linear": 1.0,
        "conv2d": 1.0,
        "sigmoid": 1.0,
        "tanh": 5.0 / 3.0,
        "relu": math.sqrt(2.0),
        "leaky_relu": math.sqrt(2.0 / (1.0 + a * a)),
    }
    if nonlinearity not in gains:
        raise UsageError(f"init: unknown nonlinearity {nonlinearity!r}; known: {', '.join(gains)}.")
    return gains[nonlinearity]


def _check_tensor(name: str, tensor: Any) -> None:
    if not isinstance(tensor, Tensor):
        raise DTypeError(
            f"{name}: fills a Tensor in place, not {type(tensor).__name__}.\n"
            f"  {describe(tensor=tensor)}\n  Give it a parameter, such as layer.weight."
        )


def _fill(tensor: Tensor, values: Any) -> Tensor:
    with guard.writable(tensor._data) as data:
        data[...] = to_device(values, device_of(data)) if is_array(values) else values
    return tensor


def constant_(tensor: Tensor, value: float) -> Tensor:
    """Fill with one value."""
    _check_tensor("constant_", tensor)
    return _fill(tensor, number(value, "constant_: value"))


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    _check_tensor("zeros_", tensor)
    return _fill(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    _check_tensor("ones_", tensor)
    return _fill(tensor, 1.0)


def normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    generator: np.random.Generator | None = None,
) -> Tensor:
    """Draw from the normal distribution."""
    _check_tensor("normal_", tensor)
    mean, std = number(mean, "normal_: mean"), number(std, "normal_: std")
    if not std >= 0.0:
        raise UsageError(f"normal_: std must not be negative, got {std}.")
    draw = (generator or default_generator()).normal(mean, std, tensor.shape)
    return _fill(tensor, draw)


def uniform_(
    tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: np.random.Generator | None = None
) -> Tensor:
    """Draw evenly from a to b."""
    _check_tensor("uniform_", tensor)
    a, b = number(a, "uniform_: a"), number(b, "uniform_: b")
    if not a <= b:
        raise UsageError(f"uniform_: a must not be above b, got {a} and {b}.")
    return _fill(tensor, (generator or default_generator()).uniform(a, b, tensor.shape))


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    _check_tensor("init", tensor)
    if mode not in ("fan_in", "fan_out"):
        raise UsageError(f"init: mode {mode!r} is neither 'fan_in' nor 'fan_out'.")
    fan = fans(tensor.shape)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: np.random.Generator | None = None,
) -> Tensor:
    """Normal with std = gain / sqrt(fan) (He et al. 2015, equation 10: sqrt(2/fan) for ReLU).

    Args:
        tensor: the weight, (out, in, ...).
        a: slope of leaky ReLU.
        mode: 'fan_in' keeps the size of the signal forward, 'fan_out' that of the gradient.
        nonlinearity: what follows the layer.
        generator: drawn from instead of the default one.

    >>> import minires as mr
    >>> round(float(kaiming_normal_(mr.zeros(1000, 200), nonlinearity="relu").data.std()), 2)
    0.1
    """
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: np.random.Generator | None = None,
) -> Tensor:
    """Uniform with the standard deviation of :func:`kaiming_normal_`: +-sqrt(3) * std."""
    bound = math.sqrt(3.0) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def _xavier_std(tensor: Tensor, gain: float) -> float:
    _check_tensor("init", tensor)
    return number(gain, "init: gain") * math.sqrt(2.0 / sum(fans(tensor.shape)))


def xavier_normal_(
    tensor: Tensor, gain: float = 1.0, generator: np.random.Generator | None = None
) -> Tensor:
    """Normal with std = gain * sqrt(2 / (fan_in + fan_out)).

    >>> import minires as mr
    >>> round(float(xavier_normal_(mr.zeros(1000, 200)).data.std()), 2)
    0.04
    """
    return normal_(tensor, 0.0, _xavier_std(tensor, gain), generator)


def xavier_uniform_(
    tensor: Tensor, gain: float = 1.0, generator: np.random.Generator | None = None
) -> Tensor:
    """Uniform in +-gain * sqrt(6 / (fan_in + fan_out)), the spread of :func:`xavier_normal_`."""
    bound = math.sqrt(3.0) * _xavier_std(tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def eye_(tensor: Tensor) -> Tensor:
    """Ones on the diagonal: a linear layer of this weight keeps its first inputs as they are.

    Raises ShapeError unless the tensor has two dimensions.
    """
    _check_tensor("eye_", tensor)
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: needs a weight of two dimensions, not {tensor.shape}.")
    return _fill(tensor, np.eye(tensor.shape[0], tensor.shape[1]))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """A convolution that keeps its first input channels as they are, in each of ``groups``.

    weight[g * C_out/groups + d, d, middle] = 1 for d below both C_out/groups and the inputs of a
    group, all else 0; the middle of k taps is k // 2.

    Raises:
        ShapeError: the weight has not 3 to 5 dimensions, or the groups do not divide C_out.

    >>> import minires as mr, minires.functional as F
    >>> x = mr.randn(1, 2, 4, 4)
    >>> bool((F.conv2d(x, dirac_(mr.zeros(2, 2, 3, 3)), padding=1).data == x.data).all())
    True
    """
    _check_tensor("dirac_", tensor)
    if not 3 <= tensor.ndim <= 5:
        raise ShapeError(f"dirac_: needs a weight of 3 to 5 dimensions, not {tensor.shape}.")
    C_out, C_in = tensor.shape[:2]
    if whole(groups, "dirac_: groups") < 1 or C_out % groups:
        raise ShapeError(f"dirac_: {groups} groups do not divide the {C_out} output channels.")
    values = np.zeros(tensor.shape)
    middle = tuple(taps // 2 for taps in tensor.shape[2:])
    for first in range(0, C_out, max(C_out // groups, 1)):
        for d in range(min(C_out // groups, C_in)):
            values[(first + d, d, *middle)] = 1.0
    return _fill(tensor, values)
