"""How a process of the sandbox ends, and what is told of it."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minires.course import process
from minires.course.sandbox import Limits, Sandbox
from minires.errors import UsageError
from tests.course.conftest import run

posix = pytest.mark.skipif(sys.platform == "win32", reason="the limits are those of POSIX")


@posix
@pytest.mark.parametrize(
    ("body", "told", "limits"),
    [
        ("while True: pass", "more than 1 seconds of processor time", {"seconds": 1}),
        ("import time; time.sleep(99)", "not done after 2 seconds", {"wall": 2.0}),
        ("import os; os._exit(3)", "ended early, with exit code 3", {}),
        ("import os; os._exit(0)", "ended early, with exit code 0", {}),
        ("import os; os.abort()", "crashed (SIGABRT)", {}),
        ("import ctypes; ctypes.string_at(0)", "crashed (SIGSEGV)", {}),
        ("import os; os.closerange(3, 64)\n    while True: pass", "it broke off", {}),
        ("import signal; signal.raise_signal(9)", "it broke off", {}),
        (
            "import signal; signal.raise_signal(signal.SIGXCPU)",
            "more than 5 seconds of processor time",
            {},
        ),
        ("print('x' * 200_000)", "printed more than 97 kB", {"output": 100_000}),
        ("while True: print('x' * 9999)", "printed more than 97 kB", {"output": 100_000}),
        (
            "for n in range(20): open(str(n), 'wb').write(bytes(1 << 17))\n    return 1",
            "more than 1 MB of files",
            {"files": 1 << 20},
        ),
        (
            "import os, contextlib\n    for n in range(3, 64):\n"
            "        with contextlib.suppress(OSError): os.write(n, b'\\xff' * 8)",
            "what it sent is no answer",
            {},
        ),
    ],
)
def test_the_reason_of_an_end_is_told(
    sandbox: Sandbox, body: str, told: str, limits: dict[str, Any]
) -> None:
    text = f"import warnings\nwarnings.simplefilter('ignore')\ndef f():\n    {body}\n"
    outcome = run(sandbox, text, **limits)
    assert told in outcome.ended
    assert outcome.answers == []
    assert outcome.loaded


@posix
def test_memory_that_is_refused_is_an_ordinary_error(sandbox: Sandbox) -> None:
    text = "def f(n): return len(bytearray(n))"
    outcome = run(sandbox, text, (1 << 31,), (1 << 20,), memory=1 << 30)
    error = outcome.answers[0].error
    assert error is not None
    assert error["type"] == "MemoryError"
    assert outcome.answers[1].value == 1 << 20


@posix
def test_a_file_that_grows_too_long_is_an_ordinary_error(sandbox: Sandbox) -> None:
    text = (
        "def f():\n    with open('x', 'wb', 0) as file:\n        return file.write(bytes(1 << 21))"
    )
    outcome = run(sandbox, text + "\ndef g(): pass", file=1 << 20)
    assert outcome.answers[0].value == 1 << 20, "as much of it as fits is written"
    outcome = run(sandbox, text.replace("1 << 21", "1 << 20") + " + file.write(b'x')", file=1 << 20)
    assert outcome.answers[0].error is not None
    assert outcome.answers[0].error["type"] == "OSError"


def test_a_process_that_reads_nothing_does_not_hold_the_grader(sandbox: Sandbox) -> None:
    started = time.monotonic()
    big = np.zeros(1 << 20)
    outcome = run(sandbox, "import time\ntime.sleep(99)", *[(big,)] * 3, wall=2.0)
    assert "not done" in outcome.ended
    assert time.monotonic() - started < 30


def test_all_answers_together_are_limited(sandbox: Sandbox) -> None:
    text = "import numpy as np\ndef f(n): return np.zeros(n, np.uint8)"
    outcome = run(sandbox, text, *[(1 << 20,)] * 4, answers=5 << 20)
    assert (outcome.ended, len(outcome.answers)) == ("", 4)
    outcome = run(sandbox, text, *[(1 << 20,)] * 6, answers=5 << 20)
    assert "its answers take more than 5 MB together" in outcome.ended
    assert outcome.answers == []
    outcome = run(sandbox, "def f(n): return ['0'] * n", *[(50_000,)] * 2, answers=10 << 20)
    assert "more than 10 MB together" in outcome.ended, "lists weigh more than they are long"


def test_inputs_that_cannot_be_sent_are_no_fault_of_the_submission(sandbox: Sandbox) -> None:
    with pytest.raises(UsageError, match=r"a case of 'f' .* that can be sent: .*complex"):
        run(sandbox, "def f(x): return 1", (1,), (np.array([1j]),))
    assert os.listdir(sandbox._place) == ["site"]


class Clock:
    """A clock that goes on when it is waited for, by the given steps."""

    def __init__(self, steps: list[float]):
        self.steps, self.now = steps, 0.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, _: float) -> bool:
        self.now += self.steps.pop(0) if self.steps else 0.0
        return not self.steps


@pytest.mark.parametrize(
    ("steps", "stopped"),
    [
        ([0.05] * 300, True),
        ([1.0] * 12, True),
        ([0.05] * 100, False),
        ([0.05, 500.0, 0.05, 0.05], False),  # other threads, or the machine, stood still
        ([500.0] * 5, False),
        ([500.0] * 12, True),  # but a process that does nothing comes to an end
    ],
)
def test_time_in_which_the_grader_itself_stood_still_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[float], stopped: bool
) -> None:
    one = process.Process([sys.executable, "-S", "-c", ""], tmp_path, Limits(wall=10.0))
    try:
        clock = Clock([*steps, 0.0])
        monkeypatch.setattr(process, "time", clock)
        monkeypatch.setattr(one._over, "wait", clock.wait)
        one._watch()
        assert bool(one._reason) == stopped
    finally:
        one._end()
        one._close()


def test_a_run_can_be_stopped_from_another_thread() -> None:
    with Sandbox() as sandbox:
        run(sandbox, "def f(): return 1")
        timer = threading.Timer(2.0, sandbox.stop)
        timer.start()
        outcome = run(sandbox, "import time\ntime.sleep(99)")
        timer.join()
        assert "ended with the run" in outcome.ended
        with pytest.raises(UsageError, match="ended with the run"):
            run(sandbox, "def f(): return 1")


# --- where the sandbox does not work ---


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("raise RuntimeError('no such library')", "no such library"),
        ("import os; os._exit(7)", "exit code 7"),
        ("while True: pass", "not done after 2 seconds"),
    ],
)
def test_a_process_that_does_not_come_to_the_submission_is_an_error_of_the_run(
    broken: str, told: str
) -> None:
    with Sandbox() as sandbox:
        (sandbox.site / "inside" / "confine.py").write_text(broken)
        with pytest.raises(UsageError, match=told):
            run(sandbox, "def f(): return 1", wall=2.0 if "while" in broken else 60.0)
        assert os.listdir(sandbox._place) == ["site"]


def test_a_process_that_cannot_be_shut_in_says_what_to_do() -> None:
    with Sandbox() as sandbox:
        (sandbox.site / "inside" / "confine.py").write_text(
            "class Unable(Exception): pass\ndef confine(*a): raise Unable('move Python')"
        )
        with pytest.raises(UsageError, match="move Python"):
            run(sandbox, "def f(): return 1")


@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="there is no /bin/ps here")
@pytest.mark.parametrize(
    ("code", "limits", "told"),
    [
        ("while True: pass", Limits(seconds=1), "more than 1 seconds of processor time"),
        (
            "x = b'x' * (1 << 27); import time; time.sleep(60)",
            Limits(memory=1 << 26),
            "64 MB of mem",
        ),
    ],
)
def test_where_the_system_does_not_limit_ps_is_asked_for_time_and_memory(
    tmp_path: Path, code: str, limits: Limits, told: str
) -> None:
    one = process.Process([sys.executable, "-I", "-S", "-c", code], tmp_path, limits)
    try:
        deadline = time.monotonic() + 30
        while not one._reason and time.monotonic() < deadline:
            time.sleep(0.2)
            one._look_at_use()
        assert told in one._reason
    finally:
        one._end()
        one._close()
    one._look_at_use()  # a process that is gone is no error


def test_a_text_of_a_submission_is_cleaned_of_what_would_be_obeyed() -> None:
    text = "a\tb\n\x1b[31m\x00\u202e\ud800\u2028é"
    assert process.printable(text) == "a\tb\n\ufffd[31m\ufffd\ufffd\ufffd\ufffdé"
    assert process.printable(text).encode()
