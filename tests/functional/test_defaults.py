"""What the operations take for the arguments that are left out: what PyTorch takes."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import minires.functional as F
from minires.functional.bind import METHODS

OVER_DIMENSIONS = {"dim": None, "keepdim": False}
DEFAULTS: dict[str, dict[str, Any]] = {
    "amax": OVER_DIMENSIONS,
    "amin": OVER_DIMENSIONS,
    "argmax": OVER_DIMENSIONS,
    "argmin": OVER_DIMENSIONS,
    "avg_pool2d": {
        "stride": None,
        "padding": 0,
        "ceil_mode": False,
        "count_include_pad": True,
        "divisor_override": None,
    },
    "batch_norm": {"weight": None, "bias": None, "training": False, "momentum": 0.1, "eps": 1e-5},
    "cat": {"dim": 0},
    "clamp": {"min": None, "max": None},
    "conv2d": {"bias": None, "stride": 1, "padding": 0, "dilation": 1, "groups": 1},
    "conv_transpose2d": {
        "bias": None,
        "stride": 1,
        "padding": 0,
        "output_padding": 0,
        "groups": 1,
        "dilation": 1,
    },
    "cross_entropy": {
        "weight": None,
        "ignore_index": -100,
        "reduction": "mean",
        "label_smoothing": 0.0,
    },
    "dropout": {"p": 0.5, "training": True},
    "flatten": {"start_dim": 0, "end_dim": -1},
    "gelu": {"approximate": "none"},
    "leaky_relu": {"negative_slope": 0.01},
    "linear": {"bias": None},
    "log_softmax": {"dim": -1},
    "logsumexp": OVER_DIMENSIONS,
    "max": OVER_DIMENSIONS,
    "max_pool2d": {
        "stride": None,
        "padding": 0,
        "dilation": 1,
        "ceil_mode": False,
        "return_indices": False,
    },
    "mean": OVER_DIMENSIONS,
    "min": OVER_DIMENSIONS,
    "mse_loss": {"reduction": "mean"},
    "nll_loss": {"weight": None, "ignore_index": -100, "reduction": "mean"},
    "pad": {"mode": "constant", "value": 0.0},
    "softmax": {"dim": -1},
    "softplus": {"beta": 1.0, "threshold": 20.0},
    "squeeze": {"dim": None},
    "stack": {"dim": 0},
    "std": {**OVER_DIMENSIONS, "correction": 1},
    "sum": OVER_DIMENSIONS,
    "var": {**OVER_DIMENSIONS, "correction": 1},
}
OPERATIONS = {**METHODS, **{name: getattr(F, name) for name in F.__all__}}


@pytest.mark.parametrize("name", OPERATIONS)
def test_arguments_left_out_are_those_that_pytorch_documents(name: str) -> None:
    taken = inspect.signature(OPERATIONS[name]).parameters
    found = {p.name: p.default for p in taken.values() if p.default is not inspect.Parameter.empty}
    wanted = DEFAULTS.get(name, {})
    assert {argument: found.get(argument) for argument in wanted} == wanted
    assert all(found[argument] is None for argument in found.keys() - wanted.keys())
