"""CIFAR in both published forms, packed and unpacked; damage and malice are refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minires.data import load_cifar10, load_cifar100
from minires.data.archives import read_members
from minires.data.cifar import CIFAR10, CIFAR100, CifarSet, _load
from minires.errors import DataError
from tests.refusals import assert_refused

N = 3  # images in a batch
SETS = {"cifar10": CIFAR10, "cifar100": CIFAR100}
FORMS = [(name, form) for name in SETS for form in (0, 1)]  # binary, Python


def tiny(source: CifarSet) -> CifarSet:
    """The set as it is published, but with N images in a file, and no checksums."""
    forms = [
        replace(
            form,
            train=[replace(batch, images=N, checksum=None) for batch in form.train],
            test=replace(form.test, images=N, checksum=None),
        )
        for form in source.forms
    ]
    return replace(source, forms=forms)


TINY = {name: tiny(source) for name, source in SETS.items()}


def images_and_labels(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (B*N, 3, 32, 32) and labels of all batches, the test batch last."""
    generator = np.random.default_rng(len(name))
    count = N * len(TINY[name].forms[0].batches)
    images = generator.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    return images, generator.integers(0, len(SETS[name].classes), count)


def contents(name: str, form: int) -> dict[str, bytes]:
    """The files of a form, by their names in the archive."""
    images, labels = images_and_labels(name)
    published = TINY[name].forms[form]
    files = {}
    for start, batch in zip(range(0, len(labels), N), published.batches, strict=True):
        part, own = images[start : start + N], labels[start : start + N].tolist()
        if form == 0:
            coarse = bytes([7]) if name == "cifar100" else b""
            rows = zip(part, own, strict=True)
            content = b"".join(coarse + bytes([label]) + image.tobytes() for image, label in rows)
        else:
            content = pickled(part.reshape(N, -1), own, published.labels)
        files[f"{published.folder}/{batch.name}"] = content
    return files


def pickled(data: Any, labels: Any, key: Any) -> bytes:
    """A batch as it is published: protocol 2, texts as bytes, NumPy's old names."""
    names = [b"%d.png" % i for i in range(N)]
    batch = {b"data": data, key: labels, b"batch_label": b"a batch", b"filenames": names}
    return pickle.dumps(batch, protocol=2).replace(b"numpy._core.", b"numpy.core.")


def tar_gz(files: Mapping[str, bytes], *others: tarfile.TarInfo) -> bytes:
    """An archive with a folder and these files, and what else is given."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo(next(iter(files)).split("/")[0])
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
        for member in others:
            archive.addfile(member)
    return gzip.compress(buffer.getvalue(), 1)


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize("packing", ["archive", "folder", "bare", "sub-folder"])
@pytest.mark.parametrize(("name", "form"), FORMS)
def test_every_published_form_gives_the_same_images(
    name: str, form: int, packing: str, tmp_path: Path
) -> None:
    files = contents(name, form)
    if packing == "archive":
        files = {TINY[name].forms[form].archive: tar_gz(files)}
    elif packing == "bare":
        files = {path.split("/")[1]: content for path, content in files.items()}
    put(tmp_path / name if packing == "sub-folder" else tmp_path, files)
    before = sorted(tmp_path.rglob("*"))
    data = _load(TINY[name], tmp_path, False)
    images, labels = images_and_labels(name)
    assert (data.name, data.classes) == (name, SETS[name].classes)
    np.testing.assert_array_equal(data.train_images, images[:-N] / np.float32(255))
    np.testing.assert_array_equal(data.test_images, images[-N:] / np.float32(255))
    np.testing.assert_array_equal(data.train_labels, labels[:-N])
    np.testing.assert_array_equal(data.test_labels, labels[-N:])
    assert sorted(tmp_path.rglob("*")) == before  # nothing was unpacked


def test_what_python_2_wrote_is_read(tmp_path: Path) -> None:
    """BINSTRING and its like, which no Python 3 writes, put together by hand."""
    images, _ = images_and_labels("cifar100")

    def text(content: bytes) -> bytes:  # BINSTRING
        return b"T" + len(content).to_bytes(4, "little") + content

    def batch(part: np.ndarray) -> bytes:
        array = (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
            b"(K\x01M\x03\x00M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"
            b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
            + text(part.tobytes())
            + b"tb"
        )
        labels = b"](K\x00K\x63K\x05e"
        return b"\x80\x02}(" + text(b"data") + array + text(b"fine_labels") + labels + b"u."

    put(tmp_path, {"train": batch(images[:N]), "test": batch(images[N:])})
    data = _load(TINY["cifar100"], tmp_path, False)
    np.testing.assert_array_equal(data.train_images, images[:N] / np.float32(255))
    assert data.test_labels.tolist() == [0, 99, 5]


def test_pixels_are_normalised_a_channel_or_by_the_mean_image(tmp_path: Path) -> None:
    put(tmp_path, contents("cifar10", 0))
    pixels = images_and_labels("cifar10")[0][:-N].astype(np.float64) / 255
    data = _load(TINY["cifar10"], tmp_path, True)
    np.testing.assert_allclose(data.mean, pixels.mean(axis=(0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(data.std, pixels.std(axis=(0, 2, 3)), rtol=1e-6)
    by_pixel = _load(TINY["cifar10"], tmp_path, "pixel")
    np.testing.assert_allclose(by_pixel.train_images, pixels - pixels.mean(axis=0), atol=1e-6)


def test_the_published_sets_are_described() -> None:
    for source, count in ((CIFAR10, 10), (CIFAR100, 100)):
        assert len(set(source.classes)) == count
        assert sorted(source.classes) == list(source.classes)
        for form in source.forms:
            assert sum(batch.images for batch in form.train) == 50_000
            assert form.test.images == 10_000
            assert len({batch.checksum for batch in form.batches}) == len(form.batches)
            assert all(len(str(b.checksum)) in (4 + 32, 7 + 64) for b in form.batches)
    assert CIFAR10.forms[0].limit(CIFAR10.forms[0].test) == 30_730_000  # as the page says
    assert CIFAR100.forms[0].limit(CIFAR100.forms[0].train[0]) == 153_700_000


@pytest.mark.parametrize(("name", "load"), [("cifar10", load_cifar10), ("cifar100", load_cifar100)])
def test_without_files_the_message_tells_where_and_how(
    name: str, load: Any, tmp_path: Path
) -> None:
    assert_refused(
        lambda: load(data_dir=tmp_path),
        DataError,
        f"{name}: no folder has its files. ... {tmp_path}/{name}; {tmp_path}. ... -binary.tar.gz"
        f" ... -python.tar.gz. ... `minires fetch {name}` ... --data-dir ... MINIRES_DATA",
    )


@pytest.mark.parametrize("form", [0, 1])
def test_files_that_are_not_the_published_ones_are_refused(form: int, tmp_path: Path) -> None:
    """Tiny ones, with the checksums of the real ones; the pickles are not even opened."""
    files = contents("cifar100", form)
    put(tmp_path, files)
    forms = [
        replace(
            published,
            train=[replace(batch, images=N) for batch in published.train],
            test=replace(published.test, images=N),
        )
        for published in CIFAR100.forms
    ]
    first = next(iter(files))
    assert_refused(
        lambda: _load(replace(CIFAR100, forms=forms), tmp_path, True),
        DataError,
        f"{tmp_path}/{first} does not have the checksum of the published file",
    )
    sums = {
        path: f"sha256:{hashlib.sha256(content).hexdigest()}" for path, content in files.items()
    }
    train, test = sums.values()
    right = [
        replace(
            published,
            train=[replace(published.train[0], images=N, checksum=train)],
            test=replace(published.test, images=N, checksum=test),
        )
        for published in CIFAR100.forms
    ]
    assert len(_load(replace(CIFAR100, forms=right), tmp_path, True)) == N


# --- damage ---


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c[:-1], "has 9,218 bytes instead of 9,219: 3 images of 3073."),
        (lambda c: c + b"x", "is too long: it has more than 9,219 bytes."),
        (lambda c: b"", "has 0 bytes instead of 9,219"),
        (lambda c: b"\x0a" + c[1:], "has labels from"),
    ],
)
def test_a_binary_file_of_another_size_or_label_is_refused(
    change: Any, reason: str, tmp_path: Path
) -> None:
    files = contents("cifar10", 0)
    name = "cifar-10-batches-bin/data_batch_4.bin"
    put(tmp_path, files | {name: change(files[name])})
    assert_refused(
        lambda: _load(TINY["cifar10"], tmp_path, True), DataError, reason, f"{tmp_path}/{name} "
    )


DATA = np.zeros((N, 3072), dtype=np.uint8)
FOREIGN = {
    "a list": (pickle.dumps([1], 2), "is no dictionary with b'data' and b'labels'."),
    "no labels": (pickled(DATA, [0] * N, b"other"), "is no dictionary with"),
    "fewer images": (pickled(DATA[1:], [0] * N, b"labels"), "has data: (2, 3072) uint8 instead of"),
    "floats": (pickled(DATA.astype("f4"), [0] * N, b"labels"), "has data: (3, 3072) float32"),
    "no array": (pickled([0], [0] * N, b"labels"), "has list instead of (3, 3072) uint8."),
    "fewer labels": (pickled(DATA, [0], b"labels"), "has no list of 3 whole numbers"),
    "labels of another kind": (pickled(DATA, [0, 1, 2.0], b"labels"), "has no list of 3 whole"),
    "label 10": (pickled(DATA, [0, 1, 10], b"labels"), "has labels from 0 to 10, but the 10"),
    "label -1": (pickled(DATA, [0, -1, 9], b"labels"), "has labels from -1 to 9"),
    "a label of 80 bits": (pickled(DATA, [0, 1 << 80, 9], b"labels"), "has labels from 0 to 1208"),
    "cut": (pickled(DATA, [0] * N, b"labels")[:-30], ""),
    "no pickle": (b"hello, world", ""),
    "empty": (b"", ""),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_a_pickle_that_holds_something_else_is_refused(case: str, tmp_path: Path) -> None:
    content, reason = FOREIGN[case]
    name = "cifar-10-batches-py/test_batch"
    put(tmp_path, contents("cifar10", 1) | {name: content})
    assert_refused(
        lambda: _load(TINY["cifar10"], tmp_path, True), DataError, reason, f"{tmp_path}/{name} "
    )


class Command:
    """Pickled, it is a call of os.system."""

    def __init__(self, command: str):
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("packed", [False, True])
def test_a_malicious_pickle_is_refused_and_runs_nothing(packed: bool, tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    content = pickled(Command(f"touch {witness}"), [0] * N, b"labels")
    pickle.loads(content)  # with Python's own reader it does run
    assert witness.exists()
    witness.unlink()
    name = "cifar-10-batches-py/data_batch_1"
    files = contents("cifar10", 1) | {name: content}
    put(tmp_path, {"cifar-10-python.tar.gz": tar_gz(files)} if packed else files)
    assert_refused(
        lambda: _load(TINY["cifar10"], tmp_path, True),
        DataError,
        f"{tmp_path}/ ... {name} asks for posix.system"
        if packed
        else f"{tmp_path}/{name} asks for ",
    )
    assert not witness.exists()


# --- archives ---


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


HOSTILE = {
    "symbolic link": (member("cifar-10-batches-bin/x", tarfile.SYMTYPE, "/etc/passwd"), "a link"),
    "hard link": (member("x", tarfile.LNKTYPE, "cifar-10-batches-bin/test_batch.bin"), "a link"),
    "device": (member("x", tarfile.CHRTYPE), "a link or a device"),
    "absolute path": (member("/etc/x"), "'/etc/x', which points outside"),
    "parent folder": (member("a/../../x"), "'a/../../x', which points outside"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_archive_with_anything_but_files_below_its_root_is_refused(
    case: str, tmp_path: Path
) -> None:
    extra, reason = HOSTILE[case]
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(tar_gz(contents("cifar10", 0), extra))
    assert_refused(
        lambda: _load(TINY["cifar10"], tmp_path, True), DataError, f"has ... {reason}", f"{path} "
    )
    assert os.listdir(tmp_path) == [path.name]


def test_a_link_in_place_of_a_batch_is_refused(tmp_path: Path) -> None:
    files = contents("cifar10", 0)
    name = "cifar-10-batches-bin/test_batch.bin"
    del files[name]
    path = tmp_path / "cifar-10-binary.tar.gz"
    path.write_bytes(tar_gz(files, member(name, tarfile.SYMTYPE, "data_batch_1.bin")))
    assert_refused(
        lambda: _load(TINY["cifar10"], tmp_path, True),
        DataError,
        f"{path} has '{name}', which is a",
    )
    path.write_bytes(tar_gz(files))
    assert_refused(
        lambda: _load(TINY["cifar10"], tmp_path, True), DataError, f"{path} lacks {name}."
    )


def test_archives_that_are_too_large_are_refused_before_they_fill_the_memory(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(tar_gz({"f/a": bytes(101)}))
    assert read_members(path, {"f/a": 101}) == {"f/a": bytes(101)}
    assert_refused(
        lambda: read_members(path, {"f/a": 100}), DataError, f"{path} has 'f/a' of 101 bytes, more"
    )
    path.write_bytes(tar_gz({"f/a": b"", "f/bomb": bytes(3 << 20)}))
    assert_refused(
        lambda: read_members(path, {"f/a": 100}), DataError, f"{path} is far larger, unzipped, than"
    )


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_announces_a_huge_file_takes_no_time(kind: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    huge = member("f/huge", kind)
    huge.size = 1 << 60
    header = huge.tobuf(tarfile.GNU_FORMAT)
    path.write_bytes(
        gzip.compress(gzip.decompress(tar_gz({"f/a": b"a"}))[:1536] + header + bytes(9000))
    )
    assert_refused(lambda: read_members(path, {"f/a": 1}), DataError, f"{path} ")


def test_an_archive_cut_or_changed_anywhere_is_refused_or_read_right(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    content = np.random.default_rng(0).bytes(2000)
    whole = tar_gz({"f/a": content, "f/b": b"b"})
    limits = {"f/a": 2000, "f/b": 1}
    for size in range(0, len(whole), 61):
        path.write_bytes(whole[:size])
        assert_refused(lambda: read_members(path, limits), DataError, f"{path} ")
    refused = 0
    for position in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[position] ^= 0x55
        path.write_bytes(changed)
        try:
            found = read_members(path, limits)  # a time stamp, say
        except DataError:
            refused += 1
        else:
            assert found == {"f/a": content, "f/b": b"b"}
    assert refused > 200


@pytest.mark.parametrize("seed", range(3))
def test_headers_of_all_kinds_of_nonsense_are_refused(seed: int, tmp_path: Path) -> None:
    """Zipped rightly, so that only the reader of tar can notice."""
    generator = np.random.default_rng(seed)
    plain = gzip.decompress(tar_gz({"f/a": b"a" * 600, "f/b": b"b"}))
    path = tmp_path / "a.tar.gz"
    refused = 0
    for _ in range(150):
        changed = bytearray(plain)
        for position in generator.integers(0, 3000, generator.integers(1, 4)):
            changed[position] = generator.integers(256)
        if generator.integers(2):  # with a right checksum, so that the nonsense is believed
            for start in (0, 512):
                header = changed[start : start + 512]
                header[156] = generator.choice(list(b"0125LKxgSV"))
                header[124:136] = bytes(generator.integers(256, size=12, dtype=np.uint8))
                header[148:156] = b" " * 8
                changed[start : start + 512] = header
                changed[start + 148 : start + 156] = b"%06o\0 " % sum(header)
        path.write_bytes(gzip.compress(changed, 1))
        try:
            read_members(path, {"f/a": 600, "f/b": 1})
        except DataError:  # and nothing else
            refused += 1
    assert refused > 75
