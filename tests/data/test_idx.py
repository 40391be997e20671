"""IDX files and the sets made of four of them: the right numbers, or a refusal with its reason."""

from __future__ import annotations

import gzip
import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from minires.data.idx import IdxSet, load_idx_set, read_idx, read_idx_set
from minires.errors import DataError, UsageError
from tests.refusals import assert_refused

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (6, 3, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 1, 0, 1, 0], dtype=np.uint8)
TINY = IdxSet("tiny", ("a", "b"), (None,) * 4, train=6, test=3, size=3)
CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(array: np.ndarray) -> bytes:
    """The array in the published format."""
    header = struct.pack(
        f">BBBB{array.ndim}I", 0, 0, CODES[array.dtype.str[1:]], array.ndim, *array.shape
    )
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_tiny(folder: Path, dotted: bool = False, zipped: bool = False) -> dict[str, Path]:
    """The four files of TINY, by their published names."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = (IMAGES, LABELS, IMAGES[::-2], LABELS[::-2])
    paths = {}
    for name, array in zip(TINY.files, arrays, strict=True):
        spelling = name.replace("-idx", ".idx") if dotted else name
        path = paths[name] = folder / (spelling + ".gz" * zipped)
        path.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
    return paths


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(5,), (2, 3, 2), (0, 4)])
def test_arrays_of_every_type_come_back(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    array = np.random.default_rng(1).integers(0, 100, shape).astype(dtype)
    path = tmp_path / "a"
    path.write_bytes(idx(array))
    found = read_idx(path)
    assert found.dtype == np.dtype(dtype)
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, array)
    found[...] = 1  # it is the reader's own


def test_gzip_is_seen_from_the_content_not_from_the_name(tmp_path: Path) -> None:
    path = tmp_path / "a.gz"
    path.write_bytes(idx(LABELS))  # a browser has unzipped it
    np.testing.assert_array_equal(read_idx(path), LABELS)
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(idx(LABELS)))
    np.testing.assert_array_equal(read_idx(path), LABELS)


WHOLE = idx(IMAGES)
REFUSED = {
    "empty": (b"", "is no IDX file: it begins with the bytes (none)"),
    "text": (b"hello, world", "is no IDX file: it begins with the bytes 68 65 6c 6c"),
    "no zeros": (b"\1\0" + WHOLE[2:], "is no IDX file: it begins with the bytes 01 00 08 03"),
    "unknown type": (
        b"\0\0\7\1" + bytes(4),
        "is no IDX file: it begins with the bytes 00 00 07 01",
    ),
    "no dimensions": (
        b"\0\0\10\0" + bytes(4),
        "is no IDX file: it begins with the bytes 00 00 08 00",
    ),
    "cut in the header": (WHOLE[:9], "is cut short, inside its header"),
    "cut in the numbers": (WHOLE[:-1], "is cut short: it has 53 of 54 bytes after the header"),
    "too long": (WHOLE + b"x", "is too long: it has more than 54 of 54 bytes"),
    "a false length": (
        struct.pack(">BBBBII", 0, 0, 8, 2, 2**32 - 1, 2**32 - 1) + b"x",
        "is cut short: it has 1 of 18,446,744,065,119,617,025 bytes",
    ),
    "gzip cut": (gzip.compress(WHOLE)[:-9], "cannot be read (Compressed file ended"),
    "gzip damaged": (gzip.compress(WHOLE)[:-6] + bytes(6), "cannot be read (CRC check failed"),
    "no gzip after its mark": (b"\x1f\x8b" + bytes(30), "cannot be read ("),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_whole_idx_file_is_refused(case: str, tmp_path: Path) -> None:
    content, reason = REFUSED[case]
    path = tmp_path / "file"
    path.write_bytes(content)
    assert_refused(lambda: read_idx(path), DataError, reason, prefix=f"{path} ")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    assert_refused(lambda: read_idx(tmp_path / "no"), DataError, f"{tmp_path}/no ... No such file")
    assert_refused(lambda: read_idx(tmp_path), DataError, f"{tmp_path} cannot be read")


def test_another_shape_type_or_content_than_the_published_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "images"
    path.write_bytes(WHOLE)
    right = f"md5:{hashlib.md5(WHOLE).hexdigest()}"
    np.testing.assert_array_equal(read_idx(path, shape=(6, 3, 3), checksum=right), IMAGES)
    assert_refused(
        lambda: read_idx(path, shape=(7, 3, 3)),
        DataError,
        "has (6, 3, 3) uint8 instead",
        f"{path} ",
    )
    path.write_bytes(idx(IMAGES.astype("f4")))
    assert_refused(
        lambda: read_idx(path, shape=(6, 3, 3)), DataError, "has (6, 3, 3) >f4", f"{path} "
    )
    path.write_bytes(WHOLE[:-1] + bytes([WHOLE[-1] ^ 1]))
    assert_refused(
        lambda: read_idx(path, checksum=right), DataError, "does not have the checksum", f"{path} "
    )


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
def test_a_set_is_read_in_all_spellings(dotted: bool, zipped: bool, tmp_path: Path) -> None:
    write_tiny(tmp_path, dotted, zipped)
    data = load_idx_set(TINY, "tiny-set", tmp_path, False)
    assert data.name == "tiny-set"
    assert data.classes == ("a", "b")
    np.testing.assert_array_equal(data.train_images * 255, IMAGES[:, None])
    np.testing.assert_array_equal(data.train_labels, LABELS)
    np.testing.assert_array_equal(data.test_images * 255, IMAGES[::-2, None])
    np.testing.assert_array_equal(data.test_labels, LABELS[::-2])


def test_pixels_are_normalised_in_the_three_ways(tmp_path: Path) -> None:
    write_tiny(tmp_path)
    pixels = IMAGES[:, None].astype(np.float64) / 255
    by_channel = load_idx_set(TINY, "t", tmp_path, True)
    expected = (pixels - pixels.mean()) / pixels.std()
    np.testing.assert_allclose(by_channel.train_images, expected, atol=1e-6)
    np.testing.assert_allclose(by_channel.test_images, expected[::-2], atol=1e-6)
    by_pixel = load_idx_set(TINY, "t", tmp_path, "pixel")
    np.testing.assert_allclose(by_pixel.train_images, pixels - pixels.mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(
        by_pixel.test_images, (pixels - pixels.mean(axis=0))[::-2], atol=1e-6
    )
    wrong = "yes"
    assert_refused(
        lambda: load_idx_set(TINY, "t", tmp_path, wrong),  # type: ignore[arg-type]
        UsageError,
        "t: normalize must be True (per channel), 'pixel' ... got 'yes'",
    )


def test_a_label_beyond_the_classes_is_refused_with_its_file(tmp_path: Path) -> None:
    paths = write_tiny(tmp_path)
    path = paths["t10k-labels-idx1-ubyte"]
    path.write_bytes(idx(np.array([0, 2, 1], dtype=np.uint8)))
    assert_refused(
        lambda: read_idx_set(TINY, tmp_path),
        DataError,
        "has a label 2, but the 2 classes are numbered 0 to 1.",
        prefix=f"{path} ",
    )


def test_the_checksums_belong_to_the_four_files_in_their_order(tmp_path: Path) -> None:
    paths = write_tiny(tmp_path, zipped=True)
    sums = [
        f"md5:{hashlib.md5(gzip.decompress(p.read_bytes())).hexdigest()}" for p in paths.values()
    ]
    load_idx_set(replace(TINY, checksums=sums), "t", tmp_path, True)
    for position, path in enumerate(paths.values()):
        wrong = [*sums[:position], "md5:" + "0" * 32, *sums[position + 1 :]]
        source = replace(TINY, checksums=wrong)
        assert_refused(
            lambda source=source: read_idx_set(source, tmp_path), DataError, f"{path} does not have"
        )


@pytest.mark.parametrize("lengths", [(1,) * 65, (0, *[2**32 - 1] * 3)])
def test_a_shape_that_no_array_can_have_is_refused(
    lengths: tuple[int, ...], tmp_path: Path
) -> None:
    path = tmp_path / "a"
    body = b"" if 0 in lengths else b"\0"
    header = bytes([0, 0, 8, len(lengths)]) + struct.pack(f">{len(lengths)}I", *lengths)
    path.write_bytes(header + body)
    with pytest.raises(DataError, match="a shape that no array can have"):
        read_idx(path)
