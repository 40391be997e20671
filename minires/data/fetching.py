"""Gets the files of the full data sets from their published addresses, whole and checked.

A file comes into ``NAME.part`` beside its place.  It gets its own name only once its checksum is
the published one, so whatever has that name is whole.  A transfer that was cut goes on from where
it stopped, in the same run or in a later one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from minires.data.checksums import has_checksum
from minires.data.places import cache_folder
from minires.errors import DataError, UsageError
from minires.files import lock
from minires.progress import Progress

if TYPE_CHECKING:
    from http.client import HTTPResponse
    from io import FileIO
    from urllib.request import OpenerDirector

__all__ = ["PUBLISHED", "RemoteFile", "fetch"]

_TIMEOUT = 30.0  # seconds without a byte
_WAITS = (0.0, 1.0, 4.0)  # seconds before each try of an address
_PIECE = 1 << 16


@dataclass(frozen=True)
class RemoteFile:
    """A published file: its name, its size in bytes, its checksum, and where it can be had."""

    name: str
    size: int
    checksum: str
    addresses: tuple[str, ...]


def fetch(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    progress: TextIO | None = None,
) -> list[Path]:
    """Get the files of a data set, unless they are there already; returns their paths.

    Args:
        name: a key of PUBLISHED: fashion-mnist, mnist, cifar10 or cifar100.
        folder: they go into its sub-folder ``name``, where a loader given the same ``data_dir``
            finds them; None for :func:`~minires.data.places.cache_folder`, where all loaders look.
        progress: where to show how far it is: a bar on a terminal, else a line a file.

    Raises DataError when a file cannot be had from any of its addresses, or one of that name is
    there and is not the published one; UsageError when nothing can be written to the folder.  The
    message says what to do by hand.  What came so far is kept for the next run, unless it is wrong.

    >>> fetch("digits")
    Traceback (most recent call last):
    minires.errors.DataError: there is nothing to fetch for 'digits'; known: cifar10, cifar100, \
fashion-mnist, mnist
    """
    name = name.removesuffix("-full")
    if name not in PUBLISHED:
        known = ", ".join(sorted(PUBLISHED))
        raise DataError(f"there is nothing to fetch for {name!r}; known: {known}")
    files = PUBLISHED[name]
    target = cache_folder(name) if folder is None else Path(folder) / name
    with Progress(len(files), 100, progress) as bar:
        for file in files:
            path = target / file.name
            bar.start(file.name)
            if path.exists():
                _check_there(path, file)
                bar.finish(f"{path} is already there")
            else:
                _get(file, path, _percents(file.size, bar))
                bar.finish(f"{path}  {file.size:,} bytes")
    return [target / file.name for file in files]


def _check_there(path: Path, file: RemoteFile) -> None:
    try:
        with path.open("rb", buffering=0) as stream:
            right = _is_right(stream, file)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    if not right:
        raise DataError(
            f"{path} is there, but it is not the published file (its checksum is another); move it"
            " away, and fetch again."
        )


def _get(file: RemoteFile, path: Path, show: Callable[[int], None]) -> None:
    """One file, from the first address that gives it."""
    part = path.with_name(f"{path.name}.part")
    with _writing_to(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab+", buffering=0) as stream:
            if not lock(stream.fileno()):  # two runs that write into one file would spoil it
                raise DataError(f"another run is fetching into {part}; wait until it is done.")
            try:
                reasons = _try_addresses(file, stream, show)
            finally:
                kept = stream.seek(0, os.SEEK_END)
                if not kept:
                    part.unlink()
        if not reasons:
            os.replace(part, path)
            return
        with suppress(OSError):  # a folder in which nothing came goes again
            path.parent.rmdir()
    stays = f"\n  {kept:,} bytes are kept in {part}; the same command goes on there." * bool(kept)
    raise DataError(
        f"could not fetch {file.name}: {'; '.join(reasons)}.{stays}\n"
        f"  By hand: get {file.addresses[0]} and save it as {path}."
    )


def _try_addresses(file: RemoteFile, stream: FileIO, show: Callable[[int], None]) -> list[str]:
    """Nothing once the file is there and right; else what was wrong, one reason an address."""
    from http.client import HTTPException

    reasons = []
    for address in file.addresses:
        for wait in _WAITS:
            time.sleep(wait)
            resumed = stream.seek(0, os.SEEK_END) > 0
            try:
                _transfer(address, file, stream, show)
            except _Refused as error:
                reason = str(error)
                break  # asking again will not help
            except (OSError, HTTPException) as error:
                reason = _in_words(error)
                continue
            if _is_right(stream, file):
                return []
            stream.truncate(0)
            reason = "what came has another checksum than the published file"
            if not resumed:
                break
        reasons.append(f"{address}: {reason}")
    return reasons


def _is_right(stream: FileIO, file: RemoteFile) -> bool:
    stream.seek(0)
    return has_checksum(file.checksum, iter(partial(stream.read, _PIECE), b""))


class _Refused(Exception):
    """The address does not have the file."""


def _transfer(address: str, file: RemoteFile, stream: FileIO, show: Callable[[int], None]) -> None:
    """Append to the stream what it lacks; a server that cannot do that sends all of it again."""
    done = stream.seek(0, os.SEEK_END)
    if done > file.size:  # not ours
        done = stream.truncate(0)
    if done == file.size:
        return
    with _open(address, done) as response:
        begin = done if _goes_on_at(done, response) else 0
        announced = response.headers.get("Content-Length")
        if announced is not None and announced.isdigit() and begin + int(announced) != file.size:
            raise _Refused(
                f"has {begin + int(announced):,} bytes instead of the published {file.size:,}"
            )
        stream.truncate(begin)
        done = begin
        while piece := response.read(_PIECE):
            if done + len(piece) > file.size:
                stream.truncate(0)
                raise _Refused(f"has more than the published {file.size:,} bytes")
            _write(stream, piece)
            done += len(piece)
            show(done)
    if done < file.size:
        raise ConnectionError(f"cut off after {done:,} of {file.size:,} bytes")


def _goes_on_at(done: int, response: HTTPResponse) -> bool:
    """Whether the answer is the asked-for rest of the file; many servers send all of it."""
    given = response.headers.get("Content-Range", "")
    return response.status == 206 and given.startswith(f"bytes {done}-")


def _open(address: str, done: int) -> HTTPResponse:
    """Ask for the file from byte ``done`` on; _Refused when the server says that it has none."""
    from urllib.error import HTTPError
    from urllib.request import Request

    headers = {"User-Agent": "minires", "Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    try:
        response: HTTPResponse = _opener().open(Request(address, headers=headers), timeout=_TIMEOUT)
    except HTTPError as error:
        with error:
            if error.code < 500 and error.code not in (408, 429):
                raise _Refused(f"HTTP error {error.code} ({error.reason})") from None
            raise ConnectionError(f"HTTP error {error.code} ({error.reason})") from None
    return response


def _opener() -> OpenerDirector:
    """Opens addresses of the web and nothing else, also where a redirection leads elsewhere."""
    from urllib import request

    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPRedirectHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _in_words(error: Exception) -> str:
    reason = getattr(error, "reason", error)  # urllib wraps what went wrong
    return getattr(reason, "strerror", None) or str(reason) or type(reason).__name__


def _write(stream: FileIO, piece: bytes) -> None:
    """All of the piece; what the disk refuses must not be taken for a fault of the network."""
    rest = memoryview(piece)
    with _writing_to(Path(stream.name)):
        while rest:
            rest = rest[stream.write(rest) :]


@contextmanager
def _writing_to(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write {path} ({error.strerror or error}); mend that, or choose another folder"
            " with --data-dir (in Python, folder=)."
        ) from error


def _percents(size: int, bar: Progress) -> Callable[[int], None]:
    """A function that takes how many bytes are there, and moves the bar a round a percent."""
    shown = 0

    def show(done: int) -> None:
        nonlocal shown
        while shown < 100 * done // size:
            bar.round()
            shown += 1

    return show


def _idx_files(addresses: tuple[str, ...], *files: tuple[str, int, str]) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(f"{name}.gz", size, checksum, tuple(f"{a}/{name}.gz" for a in addresses))
        for name, size, checksum in files
    )


def _cifar_file(name: str, size: int, checksum: str) -> tuple[RemoteFile, ...]:
    return (RemoteFile(name, size, checksum, (f"https://www.cs.toronto.edu/~kriz/{name}",)),)


PUBLISHED: dict[str, tuple[RemoteFile, ...]] = {
    "fashion-mnist": _idx_files(
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets",
        ),
        ("t10k-labels-idx1-ubyte", 5_148, "md5:bb300cfdad3c16e7a12a480ee83cd310"),
        ("train-labels-idx1-ubyte", 29_515, "md5:25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte", 4_422_102, "md5:bef4ecab320f06d8554ea6380940ec79"),
        ("train-images-idx3-ubyte", 26_421_880, "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
    ),
    "mnist": _idx_files(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
        (
            "t10k-labels-idx1-ubyte",
            4_542,
            "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        (
            "train-labels-idx1-ubyte",
            28_881,
            "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        (
            "t10k-images-idx3-ubyte",
            1_648_877,
            "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        (
            "train-images-idx3-ubyte",
            9_912_422,
            "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
    ),
    "cifar10": _cifar_file(
        "cifar-10-binary.tar.gz",
        170_052_171,
        "sha256:c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ),
    "cifar100": _cifar_file(
        "cifar-100-binary.tar.gz",
        168_513_733,
        "sha256:58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ),
}
