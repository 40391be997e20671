"""Fashion-MNIST: the part in the package, and the full set from a folder."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path

import numpy as np
import pytest

from minires.data import load_fashion_mnist
from minires.data.fashion_mnist import _LAYOUT, _SHA256, FASHION_MNIST, FASHION_MNIST_FILE
from minires.errors import DataError, UsageError
from tests.data.test_idx import TINY, write_tiny
from tests.refusals import assert_refused

MODULE = importlib.import_module("minires.data.fashion_mnist")
DEBIAN = Path("/usr/share/datasets/fashion-mnist")


def stored() -> dict[str, np.ndarray]:
    """The arrays as they lie in the package."""
    with np.load(FASHION_MNIST_FILE, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_shapes_types_and_classes_are_those_promised() -> None:
    data = load_fashion_mnist()
    assert (data.name, data.image_shape) == ("fashion-mnist", (1, 28, 28))
    assert data.train_images.dtype == data.test_images.dtype == np.float32
    assert data.classes[0] == "T-shirt/top"
    assert data.classes[9] == "Ankle boot"
    for labels, a_class in ((data.train_labels, 500), (data.test_labels, 100)):
        assert np.bincount(labels).tolist() == [a_class] * 10


def test_pixels_are_the_stored_ones() -> None:
    arrays, data = stored(), load_fashion_mnist(normalize=False)
    np.testing.assert_array_equal(data.train_images * 255, arrays["train_images"][:, None])
    np.testing.assert_array_equal(data.test_images * 255, arrays["test_images"][:, None])
    np.testing.assert_array_equal(data.train_labels, arrays["train_labels"])
    np.testing.assert_array_equal(data.test_labels, arrays["test_labels"])


def test_images_look_like_their_classes() -> None:
    """A trouser covers little, a pullover much; an ankle boot has its weight below."""
    data = load_fashion_mnist(normalize=False)
    mean = {
        name: data.train_images[data.train_labels == label, 0].mean(axis=0)
        for label, name in enumerate(data.classes)
    }
    assert mean["Trouser"].mean() < 0.7 * mean["Pullover"].mean()
    assert mean["Ankle boot"][14:].sum() > 1.3 * mean["Ankle boot"][:14].sum()


def test_no_image_is_in_both_parts() -> None:
    arrays = stored()
    train = {image.tobytes() for image in arrays["train_images"]}
    assert not any(image.tobytes() in train for image in arrays["test_images"])


def test_normalisation_is_that_of_the_training_part() -> None:
    raw, data = load_fashion_mnist(normalize=False), load_fashion_mnist()
    train = raw.train_images.astype(np.float64)
    np.testing.assert_allclose((data.mean, data.std), [[train.mean()], [train.std()]], rtol=1e-9)
    by_pixel = load_fashion_mnist(normalize="pixel")
    np.testing.assert_allclose(
        by_pixel.test_images, raw.test_images - train.mean(axis=0), atol=1e-6
    )


def test_the_file_is_small_and_has_the_checksums_that_the_attribution_tells() -> None:
    content = hashlib.sha256(b"".join(stored()[name].tobytes() for name in _LAYOUT)).hexdigest()
    assert content == _SHA256
    assert FASHION_MNIST_FILE.stat().st_size < 4_000_000
    text = FASHION_MNIST_FILE.with_name("ATTRIBUTION.md").read_text(encoding="utf-8")
    assert content in text
    assert hashlib.sha256(FASHION_MNIST_FILE.read_bytes()).hexdigest() in text
    assert "Copyright © 2017 Zalando SE" in text
    assert "Permission is hereby granted, free of charge" in text


@pytest.mark.parametrize("damage", ["missing", "cut", "changed"])
def test_a_damaged_package_is_told(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "fashion_mnist.npz"
    if damage == "cut":
        copy.write_bytes(FASHION_MNIST_FILE.read_bytes()[:100_000])
    elif damage == "changed":
        arrays = stored()
        arrays["train_images"][7, 14, 14] ^= 1
        np.savez(copy, **arrays)
    monkeypatch.setattr(MODULE, "FASHION_MNIST_FILE", copy)
    reason = {"missing": "No such file", "cut": "cannot be read", "changed": "checksum"}[damage]
    assert_refused(
        load_fashion_mnist,
        DataError,
        f"{copy} ... {reason} ... reinstall minires.",
        "fashion_mnist: ",
    )


def test_the_full_set_is_read_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULE, "FASHION_MNIST", TINY)
    write_tiny(tmp_path, zipped=True)
    data = load_fashion_mnist(full=True, data_dir=tmp_path)
    assert (data.name, len(data)) == ("fashion-mnist-full", 6)


def test_a_folder_without_full_is_refused(tmp_path: Path) -> None:
    assert_refused(
        lambda: load_fashion_mnist(data_dir=tmp_path), UsageError, "load_fashion_mnist: data_dir is"
    )


def test_without_the_full_set_every_way_to_it_is_told(tmp_path: Path) -> None:
    assert_refused(
        lambda: load_fashion_mnist(full=True, data_dir=tmp_path),
        DataError,
        f"fashion-mnist: no folder ... {tmp_path}/fashion-mnist; {tmp_path}. ... `minires fetch"
        " fashion-mnist` ... --data-dir ... MINIRES_DATA ... dataset-fashion-mnist ..."
        " load_fashion_mnist()",
    )


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's dataset-fashion-mnist is not installed")
def test_the_packaged_images_are_among_the_published_ones() -> None:
    full, part = load_fashion_mnist(full=True, data_dir=DEBIAN, normalize=False), stored()
    published = {image.tobytes() for image in (full.train_images * 255).astype(np.uint8)}
    assert all(image.tobytes() in published for image in part["train_images"])


def test_the_set_is_the_published_one() -> None:
    assert list(FASHION_MNIST.files.values()) == [
        *((60_000, 28, 28), (60_000,), (10_000, 28, 28), (10_000,))
    ]
    assert len({*FASHION_MNIST.checksums}) == 4
