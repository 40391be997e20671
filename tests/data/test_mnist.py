"""MNIST: what is published, and that nothing else passes for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from minires.data import load_mnist
from minires.data.mnist import MNIST
from minires.errors import DataError
from tests.data.test_idx import TINY, write_tiny
from tests.refusals import assert_refused


def test_the_set_is_the_published_one() -> None:
    assert list(MNIST.files.values()) == [(60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,)]
    assert MNIST.classes == tuple("0123456789")
    assert len({*MNIST.checksums}) == 4
    assert all(text is not None and len(text) == len("md5:") + 32 for text in MNIST.checksums)


def test_a_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("minires.data.mnist.MNIST", TINY)
    write_tiny(tmp_path / "tiny")
    data = load_mnist(data_dir=tmp_path)
    assert data.name == "mnist"
    assert data.train_images.shape == (6, 1, 3, 3)


def test_other_files_of_the_same_names_are_refused(tmp_path: Path) -> None:
    paths = write_tiny(tmp_path)
    assert_refused(
        lambda: load_mnist(data_dir=tmp_path),
        DataError,
        f"{paths['train-images-idx3-ubyte']} has (6, 3, 3) uint8 instead of (60000, 28, 28) uint8.",
    )
