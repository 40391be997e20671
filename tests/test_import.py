"""What ``import minires`` brings in, and what it leaves alone."""

from __future__ import annotations

import importlib
import os
import pkgutil
import subprocess
import sys

import pytest

import minires as mr

HEAVY = ("matplotlib", "cupy", "sklearn", "scipy", "tqdm", "torch", "pandas", "IPython")


def python(code: str) -> str:
    """What a fresh interpreter prints; a warning is an error."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_import_brings_in_nothing_heavy() -> None:
    code = f"import sys, minires; print([m for m in {HEAVY} if m in sys.modules])"
    assert python(code) == "[]"


def test_a_network_trains_without_anything_heavy() -> None:
    code = f"""
import sys
import minires as mr, minires.functional as F, minires.nn as nn
model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten())
loss = F.cross_entropy(model(mr.randn(2, 1, 4, 4)), [0, 1])
loss.backward()
mr.optim.SGD(model.parameters(), lr=0.1).step()
repr(model), repr(loss)
print([m for m in {HEAVY} if m in sys.modules])
"""
    assert python(code) == "[]"


def test_import_and_seeding_leave_the_global_random_state_of_numpy_alone() -> None:
    code = """
import pickle, numpy as np
np.random.seed(3)
before = pickle.dumps(np.random.get_state())
import minires as mr
mr.manual_seed(1)
mr.randn(3), mr.nn.Linear(2, 2)
print(pickle.dumps(np.random.get_state()) == before)
"""
    assert python(code) == "True"


def test_import_leaves_errstate_and_warnings_alone() -> None:
    code = """
import warnings, numpy as np
before = np.geterr(), list(warnings.filters)
import minires
print(before == (np.geterr(), list(warnings.filters)))
"""
    assert python(code) == "True"


def test_every_public_name_is_there() -> None:
    assert [name for name in mr.__all__ if not hasattr(mr, name)] == []
    assert len(set(mr.__all__)) == len(mr.__all__)


@pytest.mark.parametrize(
    "name",
    [m.name for m in pkgutil.walk_packages(mr.__path__, "minires.") if "__main__" not in m.name],
)
def test_every_module_has_the_names_it_lists(name: str) -> None:
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", [])
    assert [entry for entry in listed if not hasattr(module, entry)] == []
    assert len(set(listed)) == len(listed)


def test_a_version_is_there_as_text() -> None:
    assert mr.__version__.count(".") == 2
