"""What crossed between host and device, and from which line."""

from __future__ import annotations

import linecache
import sys
from pathlib import Path

HERE = str(Path(__file__).parent)


class Counters:
    """Counts of what a training step must not do behind the learner's back.

    ``to_device`` and ``to_host`` count copies, ``launches`` kernels of RawModule,
    ``synchronizations`` the calls that wait for the device in so many words (a copy to the host
    waits too, and is counted as the copy alone).  ``lines`` says where each came from.
    """

    to_device: int
    to_host: int
    launches: int
    synchronizations: int
    lines: list[str]

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """All counts to zero."""
        self.to_device = self.to_host = self.launches = self.synchronizations = 0
        self.lines = []

    def count(self, kind: str, what: str) -> None:
        """One more of ``kind``, for the reason ``what``."""
        setattr(self, kind, getattr(self, kind) + 1)
        if kind != "launches":
            self.lines.append(f"{kind}: {what}, {_line()}")

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.to_device} to the device, {self.to_host} to the host, "
                f"{self.synchronizations} synchronizations, {self.launches} launches",
                *self.lines,
            ]
        )


def _line() -> str:
    """The innermost line of minires that led here; of anything but this folder if there is none."""
    frame, outside = sys._getframe(2), None
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.startswith(HERE):
            outside = outside or frame
            if "/minires/" in path.replace("\\", "/") and "/tests/" not in path:
                break
        frame = frame.f_back  # type: ignore[assignment]
    frame = frame or outside
    if frame is None:
        return "from nowhere"
    path, number = frame.f_code.co_filename, frame.f_lineno
    return f"{path}:{number} in {frame.f_code.co_name}: {linecache.getline(path, number).strip()}"


counters = Counters()
