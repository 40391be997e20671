"""Every operation on a card: the numbers of NumPy, forward, backward and twice backward."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest

from tests.functional.specs import Spec
from tests.functional.test_on_a_gpu import DRAWS_NOTHING, outcome

pytestmark = pytest.mark.gpu
each_spec = pytest.mark.parametrize("spec", DRAWS_NOTHING, ids=[s.label for s in DRAWS_NOTHING])


@each_spec
def test_an_operation_gives_the_numbers_of_numpy(cupy: ModuleType, spec: Spec) -> None:
    """In float64: what is left are sums in another order and other exponentials."""
    for there, here in zip(outcome(spec, "cuda"), outcome(spec, "cpu"), strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-10, atol=1e-12)


@each_spec
def test_float32_gives_the_numbers_of_float64(cupy: ModuleType, spec: Spec) -> None:
    """As near as the CPU must come, by the tolerance of the spec, a share of the largest number.

    A gradient of a gradient goes through each rounding once more: twice that for all of them.
    """
    single = Spec(
        spec.operation, spec.label, spec.call, tuple(x.astype(np.float32) for x in spec.inputs)
    )
    exact = Spec(
        spec.operation, spec.label, spec.call, tuple(x.astype(np.float64) for x in single.inputs)
    )
    for there, here in zip(outcome(single, "cuda"), outcome(exact, "cpu"), strict=True):
        assert there.dtype == np.float32
        largest = max(1.0, np.abs(here).max(initial=0.0))
        np.testing.assert_allclose(there, here, rtol=0, atol=2 * spec.float32 * largest)
