"""The error function against the C library's."""

import math

import numpy as np
import pytest

from minires.kernels.special import erf


def test_erf_agrees_with_the_c_library_to_a_few_units_in_the_last_place() -> None:
    x = np.concatenate([np.linspace(-7, 7, 20001), [0.46875, -0.46875, 4.0, -4.0, 1e-300]])
    expected = np.array([math.erf(value) for value in x])
    np.testing.assert_allclose(erf(x), expected, rtol=1e-15)


def test_erf_of_infinities_nan_and_signed_zero() -> None:
    found = erf(np.array([np.inf, -np.inf, np.nan, -0.0]))
    np.testing.assert_array_equal(found, [1.0, -1.0, np.nan, -0.0])
    assert np.signbit(found[3])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_erf_keeps_the_dtype_and_takes_no_dimensions(dtype: type) -> None:
    assert erf(np.ones((2, 3), dtype)).dtype == dtype
    assert erf(np.asarray(0.5, dtype)).dtype == dtype
