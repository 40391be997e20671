"""CIFAR-10 and CIFAR-100: 60,000 colour images of 32x32, in 10 or 100 classes.

They are published in two forms, each as a .tar.gz, and both are read, packed or unpacked.  In the
binary form an image is a row of bytes: one label (CIFAR-100: a coarse one of 20, then a fine one of
100), 1,024 bytes red, 1,024 green, 1,024 blue, row by row.  In the Python form a batch is a pickle
of a dictionary with the same bytes as an array; it is read by :mod:`minires.unpickle`, as data.

Source: https://www.cs.toronto.edu/~kriz/cifar.html; Krizhevsky 2009, "Learning multiple layers of
features from tiny images".
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minires.data.archives import read_members
from minires.data.assemble import Normalization, Part, assemble
from minires.data.checksums import has_checksum
from minires.data.dataset import Dataset
from minires.data.places import Form, find_files
from minires.errors import DataError, describe
from minires.unpickle import NUMPY, restricted_load

__all__ = ["CIFAR10", "CIFAR100", "Batch", "CifarSet", "Published", "load_cifar10", "load_cifar100"]

_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Batch:
    """One file of a published form: its name, its images, and the checksum of its content."""

    name: str
    images: int
    checksum: str | None


@dataclass(frozen=True)
class Published:
    """A form of the set.

    Args:
        archive: the name of the .tar.gz.
        folder: the folder in it.
        train, test: the files of the training part, in order, and that of the test part.
        labels: of the binary form, how many an image has (the last one counts); of the Python form,
            the key of the labels.
    """

    archive: str
    folder: str
    train: Sequence[Batch]
    test: Batch
    labels: int | bytes

    @property
    def batches(self) -> tuple[Batch, ...]:
        """All files, those of the training part first."""
        return (*self.train, self.test)

    @property
    def unpacked(self) -> Form:
        """Where they lie when the archive was unpacked by hand."""
        return [(f"{self.folder}/{batch.name}", batch.name) for batch in self.batches]

    def limit(self, batch: Batch) -> int:
        """How many bytes a file may have: a pickle has some more for each image, such as a name."""
        if isinstance(self.labels, int):
            return batch.images * (self.labels + _PIXELS)
        return batch.images * (64 + _PIXELS) + (1 << 16)


@dataclass(frozen=True)
class CifarSet:
    """The set: its name, its classes in the order of the labels, and its forms."""

    name: str
    classes: Sequence[str]
    forms: Sequence[Published]


def load_cifar10(
    *, data_dir: str | os.PathLike[str] | None = None, normalize: Normalization = True
) -> Dataset:
    """CIFAR-10 as a :class:`Dataset`: 50,000 training and 10,000 test images of shape (3, 32, 32).

    cifar-10-binary.tar.gz or cifar-10-python.tar.gz, or the files in them, are looked for in the
    folders of :func:`~minires.data.places.candidate_folders`; ``minires fetch cifar10`` gets the
    first.  Nothing is unpacked to disk, and no code in a file is run.

    Args:
        data_dir: look there, and in its sub-folder ``cifar10``, alone.
        normalize: True for ``(pixels - mean) / std`` a channel, False for pixels between 0 and 1,
            "pixel" for pixels less the mean image of the training part (He et al. 2015, section
            4.2).

    Raises DataError when files are missing, damaged, or something else; UsageError for another
    ``normalize``.  Takes about 740 MB, and for a moment up to three times as much.
    """
    return _load(CIFAR10, data_dir, normalize)


def load_cifar100(
    *, data_dir: str | os.PathLike[str] | None = None, normalize: Normalization = True
) -> Dataset:
    """CIFAR-100 as a :class:`Dataset`, with the fine labels, of which there are 100.

    cifar-100-binary.tar.gz or cifar-100-python.tar.gz, or the files in them; everything else is as
    in :func:`load_cifar10`.
    """
    return _load(CIFAR100, data_dir, normalize)


def _load(
    source: CifarSet, data_dir: str | os.PathLike[str] | None, normalize: Normalization
) -> Dataset:
    train, test = _read_parts(source, data_dir)
    return assemble(source.name, train, test, source.classes, normalize=normalize)


def _read_parts(source: CifarSet, data_dir: str | os.PathLike[str] | None) -> tuple[Part, Part]:
    """Images (N, 3, 32, 32) and labels (N,) of the training and of the test part."""
    places: list[Form] = []
    for form in source.forms:
        places += [form.unpacked, [[form.archive]]]
    paths = find_files(source.name, places, data_dir)
    form = next(f for f in source.forms if paths[0].name in (f.archive, f.batches[0].name))
    parts = [
        _decode(what, content, batch, form.labels, len(source.classes))
        for (what, content), batch in zip(_contents(form, paths), form.batches, strict=True)
    ]
    return _join(parts[: len(form.train)]), _join(parts[len(form.train) :])


def _contents(form: Published, paths: list[Path]) -> Iterator[tuple[str, bytes]]:
    """Each batch as it is stored, and what to call it in a message."""
    limits = [form.limit(batch) for batch in form.batches]
    if paths[0].name == form.archive:
        names = [f"{form.folder}/{batch.name}" for batch in form.batches]
        members = read_members(paths[0], dict(zip(names, limits, strict=True)))
        for name in names:
            yield f"{paths[0]}, {name}", members.pop(name)
    else:
        for path, limit in zip(paths, limits, strict=True):
            yield str(path), _read_file(path, limit)


def _read_file(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    if len(content) > limit:
        raise DataError(f"{path} is too long: it has more than {limit:,} bytes.")
    return content


def _decode(what: str, content: bytes, batch: Batch, labels: int | bytes, num_classes: int) -> Part:
    """The images (n, 3, 32, 32) and labels (n,) of a batch."""
    if batch.checksum is not None and not has_checksum(batch.checksum, [content]):
        raise DataError(
            f"{what} does not have the checksum of the published file: it is another, or damaged."
        )
    n = batch.images
    if isinstance(labels, int):
        pixels, targets = _from_bytes(what, content, n, labels)
    else:
        pixels, targets = _from_pickle(what, content, n, labels)
    if targets.min() < 0 or targets.max() >= num_classes:
        raise DataError(
            f"{what} has labels from {targets.min()} to {targets.max()}, but the {num_classes}"
            f" classes are numbered 0 to {num_classes - 1}."
        )
    return pixels.reshape(n, 3, 32, 32), targets


def _from_bytes(what: str, content: bytes, n: int, labels: int) -> Part:
    """Pixels (n, 3072) and labels (n,) of the binary form."""
    row = labels + _PIXELS
    if len(content) != n * row:
        raise DataError(
            f"{what} has {len(content):,} bytes instead of {n * row:,}: {n:,} images of {row}."
        )
    rows = np.frombuffer(content, np.uint8).reshape(n, row)
    return rows[:, labels:], rows[:, labels - 1]


def _from_pickle(what: str, content: bytes, n: int, key: bytes) -> Part:
    """Pixels (n, 3072) and labels (n,) of the Python form."""
    stored = restricted_load(io.BytesIO(content), NUMPY, what=what, encoding="bytes")
    if not isinstance(stored, dict) or not {b"data", key} <= stored.keys():
        raise DataError(f"{what} is no dictionary with b'data' and {key!r}.")
    pixels, labels = stored[b"data"], stored[key]
    if not isinstance(pixels, np.ndarray) or (pixels.shape, pixels.dtype) != ((n, _PIXELS), "u1"):
        found = describe(data=pixels) if isinstance(pixels, np.ndarray) else type(pixels).__name__
        raise DataError(f"{what} has {found} instead of ({n}, {_PIXELS}) uint8.")
    if not isinstance(labels, list) or len(labels) != n or {type(x) for x in labels} != {int}:
        raise DataError(f"{what} has no list of {n:,} whole numbers under {key!r}.")
    return pixels, np.array(labels, dtype=object)  # they may be too large for any other


def _join(parts: list[Part]) -> Part:
    images, labels = zip(*parts, strict=True)
    return np.concatenate(images), np.concatenate(labels)


CIFAR10 = CifarSet(
    "cifar10",
    (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
    (
        Published(
            archive="cifar-10-binary.tar.gz",
            folder="cifar-10-batches-bin",
            train=tuple(
                Batch(f"data_batch_{number}.bin", 10_000, f"sha256:{checksum}")
                for number, checksum in (
                    (1, "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5"),
                    (2, "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed"),
                    (3, "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67"),
                    (4, "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48"),
                    (5, "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add"),
                )
            ),
            test=Batch(
                "test_batch.bin",
                10_000,
                "sha256:8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
            ),
            labels=1,
        ),
        Published(
            archive="cifar-10-python.tar.gz",
            folder="cifar-10-batches-py",
            train=tuple(
                Batch(f"data_batch_{number}", 10_000, f"md5:{checksum}")
                for number, checksum in (
                    (1, "c99cafc152244af753f735de768cd75f"),
                    (2, "d4bba439e000b95fd0a9bffe97cbabec"),
                    (3, "54ebc095f3ab1f0389bbae665268c751"),
                    (4, "634d18415352ddfa80567beed471001a"),
                    (5, "482c414d41f54cd18b22e5b47cb7c3cb"),
                )
            ),
            test=Batch("test_batch", 10_000, "md5:40351d587109b95175f43aff81a1287e"),
            labels=b"labels",
        ),
    ),
)

CIFAR100 = CifarSet(
    "cifar100",
    tuple(
        """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
        butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
        crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo
        keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle mountain
        mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain
        plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk
        skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
        television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
        """.split()  # noqa: SIM905  (a hundred quoted words are hard to read)
    ),
    (
        Published(
            archive="cifar-100-binary.tar.gz",
            folder="cifar-100-binary",
            train=(
                Batch(
                    "train.bin",
                    50_000,
                    "sha256:f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
                ),
            ),
            test=Batch(
                "test.bin",
                10_000,
                "sha256:d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
            ),
            labels=2,
        ),
        Published(
            archive="cifar-100-python.tar.gz",
            folder="cifar-100-python",
            train=(Batch("train", 50_000, "md5:16019d7e3df5f24257cddd939b257f8d"),),
            test=Batch("test", 10_000, "md5:f0ef6b0ae62326f3e7ffdfab6717acfc"),
            labels=b"fine_labels",
        ),
    ),
)
