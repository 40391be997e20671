"""Where the files of the full data sets are looked for, and what is said when they are missing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from minires.errors import DataError

__all__ = ["cache_folder", "candidate_folders", "find_files"]

_SYSTEM = Path("/usr/share/datasets")  # where Debian's packages put data sets

File = Sequence[str]  # the spellings of one file, the preferred one first
Form = Sequence[File]  # the files that make up a data set


def cache_folder(name: str) -> Path:
    """Where :func:`~minires.data.fetch` puts the files of the data set ``name``.

    That is ``$XDG_CACHE_HOME/minires/<name>``, and ``~/.cache/minires/<name>`` where the variable
    is not set, or not set to an absolute path.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():
        cache = Path(os.path.expanduser("~/.cache"))
    return cache / "minires" / name


def candidate_folders(name: str, data_dir: str | os.PathLike[str] | None = None) -> list[Path]:
    """The folders in which the files of the data set ``name`` are looked for, in this order.

    The sub-folder ``name`` of ``data_dir`` and then that itself (the files of several sets have the
    same names), and no others, if it is given.  Else the same of the environment variable
    MINIRES_DATA (several are parted as in PATH), then :func:`cache_folder`, then the place of
    Debian's packages.

    >>> [folder.as_posix() for folder in candidate_folders("mnist", "/data")]
    ['/data/mnist', '/data']
    """
    if data_dir is not None:
        given = [os.fspath(data_dir)]
    else:
        given = [part for part in os.environ.get("MINIRES_DATA", "").split(os.pathsep) if part]
    roots = [Path(os.path.expanduser(text)) for text in given]
    folders = [folder for root in roots for folder in (root / name, root)]
    if data_dir is None:
        folders += [cache_folder(name), _SYSTEM / name]
    return folders


def find_files(
    name: str,
    forms: Sequence[Form],
    data_dir: str | os.PathLike[str] | None = None,
    *,
    otherwise: str = "",
) -> list[Path]:
    """The files of one form, all from the first folder that has all of them.

    Args:
        name: the data set.
        forms: the forms in which it is published, the preferred one first.  A form is a row of
            files, a file a row of spellings.
        data_dir: see :func:`candidate_folders`.
        otherwise: other ways to come by the data, for the message.

    Raises DataError when no folder has them; it tells where was looked, and what to do.
    """
    looked = []
    for folder in candidate_folders(name, data_dir):
        lacking = []
        for files in forms:
            paths = [_first_there(folder, spellings) for spellings in files]
            there = [path for path in paths if path is not None]
            if len(there) == len(files):
                return there
            if there:
                missing = zip(files, paths, strict=True)
                lacking = [spellings[0] for spellings, path in missing if path is None]
        looked.append(f"{folder} (lacks {', '.join(lacking)})" if lacking else str(folder))
    raise DataError(
        f"{name}: no folder has its files.\n"
        f"  Looked in: {'; '.join(looked)}.\n"
        f"  Needed: {'; or '.join(_names(files) for files in forms)}.\n"
        f"  Get them with `minires fetch {name}`, or name the folder that has them with data_dir="
        f" (--data-dir, or the environment variable MINIRES_DATA){otherwise}."
    )


def _first_there(folder: Path, spellings: File) -> Path | None:
    for spelling in spellings:
        if os.path.isfile(folder / spelling):
            return folder / spelling
    return None


def _names(files: Form) -> str:
    names = [spellings[0] for spellings in files]
    return ", ".join(names) if len(names) < 5 else f"{names[0]} to {names[-1]} ({len(names)} files)"
