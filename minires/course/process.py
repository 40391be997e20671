"""One process of the sandbox, and those that watch it: a thread that talks, one that listens.

What the process sends is data at best.  Nothing here trusts it: each field is looked at before it
is used, and whatever it does or leaves out, :meth:`Process.talk` comes to an end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minires.course.inside import wire
from minires.course.places import bytes_in
from minires.errors import UsageError

__all__ = ["Answer", "Limits", "Outcome", "Process", "printable"]

LONGEST_TURN = 1.0  # seconds of waiting that count at a time, however late it woke up
_TO_START_AT_ALL = ("SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# Of the libraries that NumPy may be built on: the process shuts in the one thread that it has.
_ONE_THREAD = ("OPENBLAS", "OMP", "MKL", "BLIS", "MINIRES")


@dataclass(frozen=True)
class Limits:
    """What one task may use.

    Attributes:
        seconds: of processor time, from the start of Python on.
        wall: seconds by the clock, far more, so that a busy machine takes no points.
        memory: bytes of address space; NumPy alone takes some 200 MB of it.
        output: bytes printed.
        kept: how many of those are kept.
        answer: bytes of one answer.
        answers: bytes of memory that all of them together take.
        file: bytes of one file.
        files: bytes of all files together, each counted as one block at least.
    """

    seconds: int = 5
    wall: float = 90.0
    memory: int = 1 << 30
    output: int = 1 << 20
    kept: int = 4096
    answer: int = 16 << 20
    answers: int = 256 << 20
    file: int = 1 << 20
    files: int = 16 << 20


@dataclass(frozen=True)
class Answer:
    """What came for one case: a value, or an error of the student's code."""

    value: Any = None
    error: dict[str, Any] | None = None


@dataclass
class Outcome:
    """What a process did.

    Attributes:
        answers: one a case, as far as it came; none if it went beyond a limit.
        ended: why it did not come to the end, as a sentence; '' if it did.
        loaded: whether there is something to call under the task's name.
        notes: statements of the submission that failed.
        walls: the walls that stood (see WALLS).
        printed: the beginning of what it printed.
    """

    answers: list[Answer] = field(default_factory=list)
    ended: str = ""
    loaded: bool = False
    notes: list[dict[str, Any]] = field(default_factory=list)
    walls: tuple[str, ...] = ()
    printed: str = ""


class Process:
    """Starts the command in the folder; :meth:`talk` does the rest."""

    def __init__(self, command: Sequence[str], folder: Path, limits: Limits):
        self.folder, self.limits = folder, limits
        self._answers: list[Answer] = []
        self._walls: tuple[str, ...] | None = None  # None: it has not come as far as that
        self._loaded, self._notes = False, list[dict[str, Any]]()
        self._printed, self._length = bytearray(), 0  # the beginning, and how much there was
        self._reason = ""  # why it was stopped
        self._over = threading.Event()
        environment = {f"{name}_NUM_THREADS": "1" for name in _ONE_THREAD}
        environment |= {"VECLIB_MAXIMUM_THREADS": "1", "PATH": "", "LANG": "C.UTF-8"}
        environment |= {"HOME": str(folder), "TMPDIR": str(folder), "PYTHONHASHSEED": "0"}
        environment |= {n: os.environ[n] for n in _TO_START_AT_ALL if n in os.environ}
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def talk(self, work: dict[str, Any], calls: Sequence[bytes]) -> Outcome:
        """Give it the work and the calls, as messages; the outcome, once the process is gone.

        The talk has a thread of its own: where processes can be made, one that got away may hold
        the other end of a pipe for ever; then the thread is left behind, and nothing waits for it.

        Raises UsageError where the process did not come as far as the student's code: that is no
        fault of a submission, and must cost it nothing.
        """
        threads = [
            threading.Thread(target=self._converse, args=(work, calls), daemon=True),
            threading.Thread(target=self._listen, daemon=True),
        ]
        try:
            for thread in threads:
                thread.start()
            self._watch()
        finally:
            code, used = self._end()
        for thread in threads:
            thread.join(5.0)
        if not any(thread.is_alive() for thread in threads):
            self._close()
        printed = printable(bytes(self._printed).decode("utf-8", "replace"))
        if self._walls is None:
            why = self._reason or printed.strip()[-300:] or f"exit code {code}"
            raise UsageError(f"no submission can be run in the sandbox: {why}.")
        self._look_at_files()
        answers = [] if self._reason else self._answers[: len(calls)]
        ended = self._reason
        if not ended and len(answers) < len(calls):
            ended = _how_it_ended(code, used, self.limits)
        return Outcome(answers, ended, self._loaded, list(self._notes), self._walls, printed)

    def stop(self) -> None:
        """End it, from another thread."""
        self._stop("it was ended with the run")

    # --- the talk ---

    def _converse(self, work: dict[str, Any], calls: Sequence[bytes]) -> None:
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        try:
            wire.send(requests, work)
            walls = wire.receive(replies, 1 << 16)
            if "unable" in walls:
                self._stop(str(walls["unable"]))
                return
            self._walls = tuple(map(str, walls["walls"]))  # from here on, the student's code runs
            loaded = wire.receive(replies, 1 << 20)
            self._loaded = _field(loaded, "loaded", bool)
            self._notes = [_note(note) for note in _field(loaded, "notes", list)[: wire.MOST_NOTES]]
            left = self.limits.answers
            for call in calls:
                requests.write(call)
                requests.flush()
                reply = wire.read(replies, self.limits.answer)
                left -= wire.size_once_read(reply)
                if left < 0:
                    self._stop(
                        f"its answers take more than {self.limits.answers >> 20} MB together"
                    )
                    return
                self._answers.append(_answer(wire.decode(reply)))
        except (EOFError, OSError):
            pass  # it has ended
        except wire.WireError as error:
            self._stop(f"what it sent is no answer ({error})")
        finally:
            self._over.set()

    def _listen(self) -> None:
        stream = self._process.stderr
        assert stream is not None
        with contextlib.suppress(OSError, ValueError):
            while part := os.read(stream.fileno(), 1 << 16):
                self._length += len(part)
                self._printed += part[: max(0, self.limits.kept - len(self._printed))]
                if self._length > self.limits.output:
                    self._stop(f"it printed more than {self.limits.output >> 10} kB")
                    return

    # --- the watch ---

    def _watch(self) -> None:
        """Wait until the talk is over or a limit is passed.

        A grader that stands still, or sleeps with the whole machine, takes no answer from a process
        in that time; so that counts as a short wait.
        """
        waited, last = 0.0, time.monotonic()
        looked = last
        while not self._over.wait(0.05):
            now = time.monotonic()
            waited, last = waited + min(now - last, LONGEST_TURN), now
            if waited > self.limits.wall:
                self._stop(f"it was not done after {self.limits.wall:g} seconds")
            self._look_at_files()
            if sys.platform == "darwin" and now - looked > 0.5:
                looked = now
                self._look_at_use()

    def _look_at_files(self) -> None:
        if bytes_in(self.folder, self.limits.files) > self.limits.files:
            self._stop(f"it wrote more than {self.limits.files >> 20} MB of files")

    def _look_at_use(self) -> None:
        """macOS warns a process of its processor time, and has no limit of memory: ask ps."""
        shown = subprocess.run(
            ["/bin/ps", "-o", "time=,rss=", "-p", str(self._process.pid)],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.split()
        if len(shown) == 2:
            seconds = sum(float(n) * 60**i for i, n in enumerate(reversed(shown[0].split(":"))))
            if seconds > self.limits.seconds:
                self._stop(_too_long(self.limits))
            elif int(shown[1]) << 10 > self.limits.memory:
                self._stop(f"it took more than {self.limits.memory >> 20} MB of memory")

    def _stop(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._over.set()

    def _end(self) -> tuple[int, float]:
        """End it if it still runs; its exit code, and the seconds of processor time it took."""
        process = self._process
        if not hasattr(os, "wait4"):  # Windows
            process.kill()
            return process.wait(), 0.0
        with contextlib.suppress(OSError):  # where it could make others, they are of its group
            os.killpg(process.pid, signal.SIGKILL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, usage.ru_utime + usage.ru_stime

    def _close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]


def _how_it_ended(code: int, used: float, limits: Limits) -> str:
    warned = code == -getattr(signal, "SIGXCPU", 0) != 0  # macOS, where Linux ends it at once
    if warned or (code == -9 and used > 0.9 * limits.seconds):
        return _too_long(limits)
    if code == -9:  # ours, since it is always ended so; or the system's
        return "it broke off, as when it closes its files or memory runs out"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"the process crashed ({name}), as when a recursion has no end"
    return f"the process ended early, with exit code {code}"


def _too_long(limits: Limits) -> str:
    return f"it took more than {limits.seconds} seconds of processor time"


# --- messages, which may hold anything ---


def _field(message: Any, name: str, kind: type) -> Any:
    value = message.get(name) if isinstance(message, dict) else None
    if type(value) is not kind:
        raise wire.WireError(f"it says nothing of {name!r}")
    return value


def _answer(reply: Any) -> Answer:
    if isinstance(reply, dict) and set(reply) == {"value"}:
        return Answer(value=reply["value"])
    return Answer(error=_note(_field(reply, "error", dict)))


def _note(note: Any) -> dict[str, Any]:
    """An error as the process tells it."""
    texts = {key: printable(_field(note, key, str)[: wire.LONGEST_TEXT]) for key in _TEXTS}
    return {"number": _field(note, "number", int), **texts}


_TEXTS = ("type", "message", "place", "line")


def printable(text: str) -> str:
    r"""A text of a submission without what a terminal, a page or a file would obey or refuse.

    Such as the codes of colours, the character 0, and halves of characters.

    >>> printable("a\x1b[31m\n").encode("ascii", "replace")
    b'a?[31m\n'
    """
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
