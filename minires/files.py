"""Files and folders: checked before the work, written whole or not at all, read within bounds."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from minires.errors import UsageError

__all__ = ["is_temporary", "lock", "output_folder", "read_at_most", "strict_json", "write_whole"]

_ELSEWHERE = "choose another folder with --out"


@contextmanager
def output_folder(folder: Path, names: Sequence[str] = ()) -> Iterator[Path]:
    """A folder that can be written to, made if need be; one made here and left empty goes again.

    Raises UsageError, before any work is done, if nothing can be written there, or if a folder is
    in the place of one of the files ``names``.
    """
    if os.path.isfile(folder):
        raise UsageError(f"{str(folder)!r} is a file, not a folder; {_ELSEWHERE}.")
    for path in (folder / name for name in names):
        if os.path.isdir(path):
            raise UsageError(
                f"{str(path)!r} is a folder, and a file of that name is to be written; move it "
                f"away or {_ELSEWHERE}."
            )
    missing = [p for p in (folder, *folder.parents) if not os.path.lexists(p)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        _remove_empty(missing)
        reason = error.strerror or error
        raise UsageError(f"cannot write to {str(folder)!r} ({reason}); {_ELSEWHERE}.") from None
    try:
        yield folder
    finally:
        _remove_empty(missing)


def _remove_empty(folders: list[Path]) -> None:
    for path in folders:  # the innermost first
        with suppress(OSError):
            path.rmdir()


def write_whole(folder: Path, contents: Mapping[str, bytes]) -> list[Path]:
    """Write files so that each holds all of its content or keeps what it held before."""
    temporary: list[tuple[Path, Path]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)  # it may have gone while the work was done
        for name, content in contents.items():
            path = folder / f".{name}.{secrets.token_hex(4)}"
            with path.open("xb") as file:  # with the mode that the user's files have
                temporary.append((path, folder / name))
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # before the name: a power cut must not leave it empty
        for path_now, path_then in temporary:
            os.replace(path_now, path_then)
    except OSError as error:
        raise UsageError(f"cannot write to {str(folder)!r} ({error.strerror or error}).") from None
    finally:
        for path_now, _ in temporary:
            path_now.unlink(missing_ok=True)
    return [path for _, path in temporary]


def read_at_most(path: Path, most: int) -> bytes:
    """What is in a file; UsageError if it is none, cannot be read, or has more than ``most``."""
    try:
        if not path.is_file():  # a pipe, or a device, would have no end
            reason = "is no file" if path.exists() else "does not exist"
            raise UsageError(f"{str(path)!r} {reason}.")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise UsageError(f"cannot read {str(path)!r} ({error.strerror or error}).") from None
    if len(data) > most:
        raise UsageError(f"{str(path)!r} has more than {most:,} bytes.")
    return data


def lock(handle: int) -> bool:
    """Whether this process now has the open file or folder to itself, until it is closed.

    It always has where the system knows no such locks (Windows).
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_temporary(path: str, name: str) -> bool:
    """Whether ``path`` is what :func:`write_whole`, killed on the way, leaves of a file ``name``.

    >>> is_temporary(".a.npz.k3_x9abc", "a.npz"), is_temporary(".a.npz.swp", "a.npz")
    (True, False)
    """
    return re.fullmatch(rf"\.{re.escape(name)}\.[a-z0-9_]{{8}}", path) is not None


def strict_json(results: Any) -> str:
    """Results as JSON that every reader takes: what is not finite becomes null.

    >>> strict_json({"loss": [1.5, float("nan")]}).split()
    ['{', '"loss":', '[', '1.5,', 'null', ']', '}']
    """
    return json.dumps(_finite(results), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
