"""The stored files of weights, and what PyTorch and the safetensors library read in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

__all__ = ["FILES", "FOLDER", "assert_same", "expected"]

FOLDER = Path(__file__).parents[1] / "golden" / "weights"
FILES = sorted(path.name for path in FOLDER.iterdir() if path.suffix != ".npz")


def expected(file: str) -> dict[str, np.ndarray]:
    """What is in ``file``, by name."""
    with np.load(FOLDER / "expected.npz", allow_pickle=False) as archive:
        return {
            name.removeprefix(f"{file}/"): archive[name]
            for name in archive.files
            if name.startswith(f"{file}/")
        }


def assert_same(found: Mapping[str, np.ndarray], true: Mapping[str, np.ndarray]) -> None:
    """The same names in the same order, types, shapes and bits, in memory of their own."""
    assert list(found) == list(true)
    for name, array in true.items():
        assert type(found[name]) is np.ndarray
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == array.tobytes(), name
        assert found[name].flags.writeable, name
