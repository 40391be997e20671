"""Tests on a real GPU: ``python -m pytest -m gpu``.

With ``MINIRES_GPU_TESTS=fake`` in the environment they run on CuPy's stand-in instead, which shows
that they are right in themselves, and says nothing about a card.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import ModuleType

import pytest

from minires.device import gpu, import_cupy
from minires.errors import DeviceError
from tests.fake_cupy import counters, installed

FAKE = os.environ.get("MINIRES_GPU_TESTS") == "fake"
Watch = Callable[[], AbstractContextManager[None]]


@pytest.fixture(scope="session")
def cupy() -> Iterator[ModuleType]:
    """CuPy, on a machine with a GPU; for all tests, since compiled kernels belong to it."""
    if FAKE:
        with installed() as stand_in:
            yield stand_in
        return
    try:
        gpu("cuda")
    except DeviceError as error:
        pytest.skip(f"there is no GPU: {error}")
    yield import_cupy()


@pytest.fixture
def without_waiting(cupy: ModuleType) -> Watch:
    """A block in which a copy to the host, or a wait for the device, is an error."""

    @contextmanager
    def watched() -> Iterator[None]:
        if FAKE:
            counters.reset()
            yield
            assert (counters.to_host, counters.synchronizations) == (0, 0), str(counters)
            return
        import cupyx

        with pytest.warns(UserWarning, match="allow_synchronize"), cupyx.allow_synchronize(False):
            yield

    return watched
