"""The bundled digits: the right numbers, a fixed stratified split, and damage told plainly."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minires.data import load_digits
from minires.data.digits import _LAYOUT, _SHA256, DIGITS_FILE
from minires.errors import DataError

CLASS_COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
FIRST_TEST_IMAGES = [5, 9, 12, 14, 16]
ATTRIBUTION = DIGITS_FILE.with_name("ATTRIBUTION.md")


def stored() -> dict[str, np.ndarray]:
    """The three arrays as they lie in the file."""
    with np.load(DIGITS_FILE, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_shapes_types_and_sizes_are_those_promised() -> None:
    data = load_digits()
    assert data.train_images.shape == (1437, 1, 8, 8)
    assert data.test_images.shape == (360, 1, 8, 8)
    assert data.train_images.dtype == data.test_images.dtype == np.float32
    assert data.train_labels.dtype == data.test_labels.dtype == np.int64
    assert data.classes == tuple("0123456789")


def test_each_class_gives_one_fifth_to_the_test_part() -> None:
    data = load_digits()
    test = np.bincount(data.test_labels, minlength=10)
    total = test + np.bincount(data.train_labels, minlength=10)
    assert total.tolist() == CLASS_COUNTS
    assert np.abs(test - total * 360 / 1797).max() < 1


def test_split_is_fixed_and_loses_no_image() -> None:
    arrays = stored()
    index = arrays["test_index"].astype(int)
    assert (np.diff(index) > 0).all()
    assert index[:5].tolist() == FIRST_TEST_IMAGES
    data = load_digits(normalize=False)
    pixels = arrays["images"][:, None] / np.float32(16)
    np.testing.assert_array_equal(data.test_images, pixels[index])
    np.testing.assert_array_equal(data.test_labels, arrays["labels"][index])
    np.testing.assert_array_equal(data.train_images, np.delete(pixels, index, axis=0))
    np.testing.assert_array_equal(data.train_labels, np.delete(arrays["labels"], index))


def test_no_test_image_is_among_the_training_images() -> None:
    data = load_digits(normalize=False)
    train = {image.tobytes() for image in data.train_images}
    assert not any(image.tobytes() in train for image in data.test_images)


def test_normalisation_is_computed_from_the_training_part_alone() -> None:
    raw, data = load_digits(normalize=False), load_digits()
    train = raw.train_images.astype(np.float64)
    np.testing.assert_allclose(data.mean, [train.mean()], rtol=1e-12)
    np.testing.assert_allclose(data.std, [train.std()], rtol=1e-12)
    assert abs(data.train_images.mean()) < 1e-6
    assert abs(data.test_images.mean()) > 1e-4
    for part in ("train_images", "test_images"):
        back = getattr(data, part) * data.std[0] + data.mean[0]
        np.testing.assert_allclose(back, getattr(raw, part), atol=1e-6)


def test_without_normalisation_pixels_lie_between_0_and_1() -> None:
    data = load_digits(normalize=False)
    assert (data.mean, data.std) == ((0.0,), (1.0,))
    assert (data.train_images.min(), data.train_images.max()) == (0.0, 1.0)


def test_two_loads_share_no_memory() -> None:
    first, second = load_digits(), load_digits()
    assert not np.shares_memory(first.train_images, second.train_images)


def test_stored_numbers_have_the_checksum_that_the_attribution_tells() -> None:
    arrays = stored()
    content = hashlib.sha256(b"".join(arrays[name].tobytes() for name in _LAYOUT)).hexdigest()
    assert content == _SHA256
    text = ATTRIBUTION.read_text(encoding="utf-8")
    assert content in text
    assert hashlib.sha256(DIGITS_FILE.read_bytes()).hexdigest() in text
    assert "CC BY 4.0" in text


def test_stored_numbers_are_those_of_scikit_learn() -> None:
    datasets = pytest.importorskip(
        "sklearn.datasets", reason="scikit-learn is not installed; the checksum is tested without"
    )
    source = datasets.load_digits()
    arrays = stored()
    np.testing.assert_array_equal(arrays["images"], source.images)
    np.testing.assert_array_equal(arrays["labels"], source.target)


def test_a_copy_compressed_in_another_way_is_read(tmp_path: Path) -> None:
    copy = tmp_path / "copy.npz"
    np.savez(copy, **stored())
    data = load_digits(path=copy)
    np.testing.assert_array_equal(data.train_images, load_digits().train_images)


def refused(path: Path) -> str:
    """The message of the DataError for this file: one sentence, with the file and the mend."""
    with pytest.raises(DataError) as caught:
        load_digits(path=path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    assert "reinstall minires" in message
    assert "path=" in message
    return message


def test_missing_file(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "nowhere.npz")


def test_a_folder_in_place_of_the_file(tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 100, 20_000, 46_000])
def test_truncated_file(tmp_path: Path, size: int) -> None:
    path = tmp_path / "digits.npz"
    path.write_bytes(DIGITS_FILE.read_bytes()[:size])
    assert "cannot be read" in refused(path)


@pytest.mark.parametrize("position", [5, 40, 2_000, 20_000, 44_000, -300, -30])
def test_damaged_byte_never_passes_unseen(tmp_path: Path, position: int) -> None:
    content = bytearray(DIGITS_FILE.read_bytes())
    content[position] ^= 0xFF
    path = tmp_path / "digits.npz"
    path.write_bytes(content)
    try:
        data = load_digits(path=path)  # a byte that carries no data, such as a time stamp
    except DataError:
        refused(path)
    else:
        np.testing.assert_array_equal(data.train_images, load_digits().train_images)


@pytest.mark.parametrize("content", [b"hello, world", b"\x93NUMPY" + bytes(20), b"PK\x03\x04"])
def test_a_file_that_is_no_archive(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "digits.npz"
    path.write_bytes(content)
    assert "cannot be read" in refused(path)


@pytest.mark.parametrize(("offset", "value"), [(0, 1), (2, 99)], ids=["encrypted", "compression"])
def test_an_archive_of_a_kind_that_cannot_be_opened(
    tmp_path: Path, offset: int, value: int
) -> None:
    content = bytearray(DIGITS_FILE.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # then the method
        content[content.index(signature) + flags + offset] = value
    path = tmp_path / "digits.npz"
    path.write_bytes(content)
    assert "cannot be read" in refused(path)


def test_a_single_array(tmp_path: Path) -> None:
    path = tmp_path / "one.npy"
    np.save(path, np.zeros((1797, 8, 8), dtype=np.uint8))
    assert "not an archive of 3" in refused(path)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    path = tmp_path / "pickled.npz"
    np.savez(path, **(stored() | {"labels": np.array([{}], dtype=object)}))
    assert "cannot be read" in refused(path)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("images", lambda a: a[:1796], "has images (1796, 8, 8) uint8 instead of (1797, 8, 8)"),
        ("images", lambda a: a.astype(np.float32), "float32 instead of (1797, 8, 8) uint8"),
        ("images", lambda a: a + np.uint8(1), "has images up to 17 instead of 16"),
        ("labels", lambda a: a + np.uint8(1), "has labels up to 10 instead of 9"),
        ("test_index", lambda a: a[:-1], "has test_index (359,)"),
        ("test_index", lambda a: a + np.uint16(9), "has test_index up to 1805 instead of 1796"),
        ("images", lambda a: a[::-1], "checksum"),
        ("labels", lambda a: a[::-1], "checksum"),
        ("test_index", lambda a: a[::-1], "checksum"),
    ],
)
def test_foreign_arrays_are_told_apart(
    tmp_path: Path, name: str, change: Callable[[np.ndarray], np.ndarray], message: str
) -> None:
    arrays = stored()
    path = tmp_path / "foreign.npz"
    np.savez(path, **(arrays | {name: change(arrays[name])}))
    assert message in refused(path)


def test_an_array_that_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "two.npz"
    arrays = stored()
    np.savez(path, images=arrays["images"], labels=arrays["labels"])
    assert "test_index" in refused(path)
