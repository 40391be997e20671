"""The teacher's secret, from which the inputs of the hidden tests grow."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from minires.errors import UsageError
from minires.files import read_at_most

__all__ = ["Secret", "find_secret"]

VARIABLE = "MINIRES_COURSE_SECRET"
SHORTEST, _LONGEST = 16, 65_536  # bytes


@dataclass(frozen=True)
class Secret:
    """A secret, the file that it is in, whether it has just been made, and what is wrong with it.

    Nothing prints the secret itself.
    """

    data: bytes = field(repr=False)
    path: Path
    made: bool = False
    warning: str = ""


def find_secret(path: Path | None = None, variables: Mapping[str, str] = os.environ) -> Secret:
    """Read the secret: the file named, or the one that MINIRES_COURSE_SECRET names, or one's own.

    One's own is ``~/.config/minires/course-secret``, and is made on first use.  The same secret
    gives the same inputs, so it must be kept, and who has it can work out what a student is graded
    on.  White space around it does not count.  Raises UsageError if there is none, or a short one.
    """
    made = False
    if path is None and variables.get(VARIABLE):
        path = Path(variables[VARIABLE])
    if path is None:
        try:
            path = Path.home() / ".config" / "minires" / "course-secret"
        except RuntimeError:
            raise UsageError(
                "there is no home folder to keep the secret in; --secret FILE"
            ) from None
        made = _make(path)
    try:
        data = read_at_most(path, _LONGEST).strip()
    except UsageError as error:
        raise UsageError(f"the secret: {error}") from None
    if len(data) < SHORTEST:
        raise UsageError(
            f"the secret in {str(path)!r} has {len(data)} bytes, which could be guessed; it must "
            f"have at least {SHORTEST}. Remove the file to have one made in ~/.config, or write "
            "one of your own."
        )
    warning = ""
    if os.name != "nt" and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        warning = f"the secret {str(path)!r} can be read by others; chmod 600 {str(path)!r}"
    return Secret(data, path, made, warning)


def _make(path: Path) -> bool:
    """Make a secret if there is none; whether one was made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise UsageError(
            f"cannot make a secret in {str(path)!r} ({error.strerror or error}); --secret FILE"
        ) from None
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n")
    return True
