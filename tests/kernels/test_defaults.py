"""What the kernels take for the settings that are left out: on every rung the same, PyTorch's."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType

import pytest

from minires import kernels
from minires.kernels import conv, geometry, im2col, norm, pool, reference

softmax = importlib.import_module("minires.kernels.softmax")  # kernels.softmax is the function

DEFAULTS = {
    "axis": -1,
    "bias": None,
    "ceil_mode": False,
    "count_include_pad": True,
    "dilation": 1,
    "divisor_override": None,
    "eps": 1e-5,
    "groups": 1,
    "ignore_index": -100,
    "padding": 0,
    "stride": 1,
    "training": True,
    "weight": None,
    "window": None,
}
OF_POOLING = {**DEFAULTS, "stride": None}  # which means: as long as the kernel
NAMES_FOR_ERRORS = {"operation", "name"}


def functions(module: ModuleType) -> dict[str, inspect.Signature]:
    """The public functions of a module, with what they take."""
    return {
        name: inspect.signature(thing)
        for name in module.__all__
        if inspect.isfunction(thing := getattr(module, name))
    }


@pytest.mark.parametrize(
    "module",
    [conv, geometry, im2col, norm, pool, reference, softmax],
    ids=lambda module: module.__name__,
)
def test_settings_left_out_have_one_value_everywhere(module: ModuleType) -> None:
    seen = 0
    for name, signature in functions(module).items():
        for argument in signature.parameters.values():
            if argument.default is inspect.Parameter.empty or argument.name in NAMES_FOR_ERRORS:
                continue
            usual = OF_POOLING if "pool" in name else DEFAULTS
            found, wanted = argument.default, usual[argument.name]
            assert (found, type(found)) == (wanted, type(wanted)), (name, argument.name)
            seen += 1
    assert seen > 1


@pytest.mark.parametrize(
    "rung", [conv, norm, pool, softmax, im2col], ids=lambda module: module.__name__
)
def test_every_rung_takes_what_the_reference_takes(rung: ModuleType) -> None:
    taken = functions(reference)
    for name, signature in functions(rung).items():
        assert signature == taken[name], name
        assert inspect.signature(getattr(kernels, name)) == taken[name], name
