"""Adam and AdamW: PyTorch's numbers, and their settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import optim
from minires.errors import UsageError
from tests.golden.loading import OptimizerCase, load_optimizers

CASES = [pytest.param(c, id=c.name) for c in load_optimizers() if c.op.startswith("Adam")]


def test_both_have_stored_cases() -> None:
    assert {case.values[0].op for case in CASES} == {"Adam", "AdamW"}  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-10), (np.float32, 1e-5)])
def test_every_step_gives_the_stored_numbers(case: OptimizerCase, dtype: Any, rtol: float) -> None:
    weight = mr.tensor(case.start.astype(dtype), requires_grad=True)
    optimizer = getattr(optim, case.op)([weight], **case.kwargs)
    for grad, expected in zip(case.grads, case.values, strict=True):
        weight.grad = mr.tensor(grad.astype(dtype))
        optimizer.step()
        assert weight.dtype == dtype
        np.testing.assert_allclose(weight.data, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("make", [optim.Adam, optim.AdamW])
def test_settings_that_make_no_sense_are_refused(make: Any) -> None:
    weight = mr.tensor([1.0], requires_grad=True)
    for settings in ({"lr": -1.0}, {"eps": -1.0}, {"betas": (0.9, 1.0)}, {"betas": (0.9,)}):
        with pytest.raises(UsageError, match=make.__name__):
            make([weight], **settings)


def test_a_parameter_without_a_gradient_stays() -> None:
    weight = mr.tensor([1.0], requires_grad=True)
    optim.AdamW([weight], lr=0.1).step()
    assert weight.tolist() == [1.0]
