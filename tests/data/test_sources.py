"""Data sets by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minires.data import load, load_digits, load_fashion_mnist
from minires.data.sources import LOADERS
from minires.errors import DataError, UsageError
from tests.cli.conftest import Ran, command
from tests.data import test_cifar
from tests.data.test_idx import TINY, write_tiny
from tests.refusals import assert_refused

__all__ = ["command"]  # the fixture

NAMES = ["cifar10", "cifar100", "digits", "fashion-mnist", "fashion-mnist-full", "mnist", "shapes"]


def test_the_names_are_those_promised() -> None:
    assert sorted(LOADERS) == NAMES
    assert_refused(
        lambda: load("nothing"), DataError, f"unknown data set 'nothing'; known: {', '.join(NAMES)}"
    )


@pytest.mark.parametrize("name", ["digits", "fashion-mnist", "shapes"])
@pytest.mark.parametrize("normalize", [True, False, "pixel"])
def test_sets_that_need_no_files_ignore_the_folder(
    name: str, normalize: bool, tmp_path: Path
) -> None:
    data = load(name, data_dir=tmp_path, normalize=normalize)
    assert data.name == name
    mean = data.train_images.mean(axis=0)
    if normalize == "pixel":
        np.testing.assert_allclose(mean, 0, atol=1e-5)
    elif normalize:
        np.testing.assert_allclose(data.train_images.mean(axis=(0, 2, 3)), 0, atol=1e-4)
    else:
        assert (data.train_images.min(), data.train_images.max()) >= (0, 0)
        assert data.train_images.max() <= 1


def test_the_default_is_what_the_loaders_give() -> None:
    for name, loader in (("digits", load_digits), ("fashion-mnist", load_fashion_mnist)):
        found, expected = load(name), loader()
        np.testing.assert_array_equal(found.train_images, expected.train_images)


def test_sets_of_files_are_read_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny(tmp_path)
    monkeypatch.setattr("minires.data.mnist.MNIST", TINY)
    monkeypatch.setattr("minires.data.fashion_mnist.FASHION_MNIST", TINY)
    for name in ("mnist", "fashion-mnist-full"):
        assert load(name, data_dir=tmp_path).image_shape == (1, 3, 3)
    for name, constant in (("cifar10", "CIFAR10"), ("cifar100", "CIFAR100")):
        test_cifar.put(tmp_path, test_cifar.contents(name, 0))
        monkeypatch.setattr(f"minires.data.cifar.{constant}", test_cifar.TINY[name])
        data = load(name, data_dir=tmp_path, normalize="pixel")
        assert (data.name, data.image_shape) == (name, (3, 32, 32))


@pytest.mark.parametrize("name", NAMES)
def test_another_way_to_normalise_is_refused(name: str, tmp_path: Path) -> None:
    if name in ("digits", "fashion-mnist", "shapes"):
        wrong = "channels"
        assert_refused(
            lambda: load(name, normalize=wrong),  # type: ignore[arg-type]
            UsageError,
            f"{name}: normalize must be True",
        )
    else:
        assert_refused(lambda: load(name, data_dir=tmp_path), DataError, name.removesuffix("-full"))


def test_a_command_says_in_one_line_that_the_files_are_missing(
    command: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIRES_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ran = command("compare", "--data", "cifar10")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.count("\n") == 1
    assert (
        f"no folder has its files. Looked in: {tmp_path}/data/cifar10; {tmp_path}/data;" in ran.err
    )
