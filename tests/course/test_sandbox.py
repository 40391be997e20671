"""A process of the sandbox: what it answers, and that nothing of it is left."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minires.course import process
from minires.course import sandbox as module
from minires.course.assignment import find_assignment
from minires.course.cells import join_cells
from minires.course.places import remove
from minires.course.sandbox import WALLS, Sandbox
from tests.course.conftest import ONE, Markers, run

# --- answers ---


def test_the_function_is_called_with_each_of_the_arguments(sandbox: Sandbox) -> None:
    outcome = sandbox.run(
        cells=[("text", 1, "def f(x, *, scale=1): return {'scaled': (x * scale, [scale])}")],
        task="f",
        calls=[((np.arange(3.0),), {"scale": 2}), ((5,), {})],
    )
    assert outcome.loaded
    assert (outcome.ended, outcome.notes) == ("", [])
    first, second = (answer.value["scaled"] for answer in outcome.answers)
    np.testing.assert_array_equal(first[0], [0.0, 2.0, 4.0])
    assert first[1] == [2]
    assert second == (5, [1])
    assert set(outcome.walls) <= set(WALLS)


def test_given_code_comes_before_and_references_after_the_submission(sandbox: Sandbox) -> None:
    given = compile("unit = 10\ndef g(): return 1", "given", "exec")
    reference = compile("def g(): return 3 * unit", "reference", "exec")
    outcome = sandbox.run(
        cells=[("text", 1, "double = 2 * unit\ndef g(): return 2\ndef f(): return g() + double")],
        task="f",
        calls=ONE,
        given=[given],
        references=[("g", reference)],
    )
    assert outcome.answers[0].value == 50


def references(**texts: str) -> list[tuple[str, types.CodeType]]:
    return [(name, compile(text, "reference", "exec")) for name, text in texts.items()]


def test_a_helper_of_a_reference_leaves_the_submission_s_of_that_name(sandbox: Sandbox) -> None:
    text = """
def norm(arrays): return len(arrays)
def g(x): return "the student's"
def f(x): return [norm([1, 2, 3]), g(x), h(x)]
"""
    outcome = sandbox.run(
        cells=[("text", 1, text)],
        task="f",
        calls=[((2,), {})],
        references=references(
            g="def norm(x): return -x\ndef g(x): return norm(x)",
            h="def h(x): return [g(x), norm(x)]",
        ),
    )
    assert outcome.answers[0].value == [3, -2, [-2, -2]], outcome


def test_a_right_submission_with_helpers_called_like_the_solution_s_is_right(
    markers: Markers,
) -> None:
    a07 = find_assignment("a07")
    assert "def norm(" in join_cells(a07.master_cells), "a helper of the solution"
    own = """
def norm(arrays):
    return [np.sqrt(np.sum(a * a)) for a in arrays]


def summarize(components, gradient):
    [size], norms = norm([gradient]), norm(components)
    total = sum(norms)
    [off] = norm([sum(components) - gradient])
    return {
        "norms": norms,
        "shares": [np.sum(c * gradient) / size**2 if size else 0.0 for c in components],
        "cancellation": total / size if size else None,
        "error": off / total if total else off,
    }
"""
    text = join_cells(a07.stub_cells) + own
    assert markers.mark(a07, text, "summarize").status == "passed"


def test_references_stand_on_given_code_as_it_was_and_share_its_classes(sandbox: Sandbox) -> None:
    given = "class Box:\n    pass\ndef unit(): return 10\n"
    text = given + "unit = None\ndef f(): return [isinstance(g(), Box), g().size]\n"
    outcome = sandbox.run(
        cells=[("text", 1, text)],
        task="f",
        calls=ONE,
        given=[compile(given, "given", "exec")],
        references=references(g="def g():\n    box = Box()\n    box.size = unit()\n    return box"),
    )
    assert outcome.answers[0].value == [True, 10], outcome


def test_a_driver_calls_in_place_of_the_grader(sandbox: Sandbox) -> None:
    driver = "def f(submission, n):\n    return [submission.f(i) for i in range(n)]"
    outcome = sandbox.run(
        cells=[("text", 1, "f = lambda i: i * i")], task="f", calls=[((4,), {})], driver=driver
    )
    assert outcome.answers[0].value == [0, 1, 4, 9]


def test_the_order_of_sets_and_the_global_generators_are_the_same_in_every_run(
    sandbox: Sandbox,
) -> None:
    text = """
import random
import numpy as np
def f(): return [str(set("abcdefghij")), random.random(), np.random.rand()]
"""
    answers = [run(sandbox, text).answers[0].value for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]


def test_what_is_not_there_is_not_loaded(sandbox: Sandbox) -> None:
    assert not run(sandbox, "g = 1").loaded
    assert not run(sandbox, "f = 1").loaded
    assert run(sandbox, "class f: pass").loaded


def test_an_error_is_told_with_its_line_and_the_next_call_goes_on(sandbox: Sandbox) -> None:
    text = "def f(x):\n    # divides\n    return 1 / x\n"
    outcome = run(sandbox, text, (0,), (2,))
    assert outcome.answers[0].error == {
        "type": "ZeroDivisionError",
        "message": "division by zero",
        "place": "text",
        "number": 3,
        "line": "return 1 / x",
    }
    assert outcome.answers[1].value == 0.5


def test_a_statement_that_fails_is_noted_and_the_others_are_run(sandbox: Sandbox) -> None:
    outcome = run(sandbox, "1 / 0\nimport no_such_module\ndef f(): return 1\nraise SystemExit\n")
    assert [(note["type"], note["number"]) for note in outcome.notes] == [
        ("ZeroDivisionError", 1),
        ("ModuleNotFoundError", 2),
        ("SystemExit", 4),
    ]
    assert outcome.answers[0].value == 1


def test_what_is_printed_is_kept_apart_from_the_answer(sandbox: Sandbox) -> None:
    text = (
        "import sys\nprint('above')\ndef f():\n    print('in f'); sys.stderr.write('err'); return 1"
    )
    outcome = run(sandbox, text)
    assert outcome.answers[0].value == 1
    assert all(part in outcome.printed for part in ("above", "in f", "err"))


def test_numpy_is_there_and_nothing_that_is_installed_beside_it(sandbox: Sandbox) -> None:
    text = """
def f(name):
    try:
        __import__(name)
        return True
    except ImportError:
        return False
"""
    names = [
        "numpy",
        "numpy.linalg",
        "json",
        "sqlite3",
        "decimal",
        "pytest",
        "minires",
        "hypothesis",
    ]
    outcome = run(sandbox, text, *[(name,) for name in names])
    found = dict(zip(names, (answer.value for answer in outcome.answers), strict=True))
    assert [name for name in names if not found[name]] == ["pytest", "minires", "hypothesis"]


def test_files_can_be_written_in_the_folder_and_are_gone_afterwards(sandbox: Sandbox) -> None:
    text = """
import os, tempfile, numpy as np
def f():
    np.save("a.npy", np.ones(3))
    with tempfile.NamedTemporaryFile("w") as file, open(os.devnull, "w") as nowhere:
        print("x", file=file); print("x", file=nowhere)
    os.rename("a.npy", "b.npy")
    return [np.load("b.npy"), os.listdir("."), os.getcwd()]
"""
    outcome = run(sandbox, text)
    assert outcome.answers[0].error is None, outcome
    assert outcome.answers[0].value[1] == ["b.npy"]
    assert not os.path.exists(outcome.answers[0].value[2])


def test_answers_up_to_the_limit_pass_and_a_larger_one_is_an_error(sandbox: Sandbox) -> None:
    text = "import numpy as np\ndef f(n): return np.zeros(n, np.uint8)"
    outcome = run(sandbox, text, (1_000_000,), (1 << 20,), (10,), answer=1 << 20)
    assert [answer.error is None for answer in outcome.answers] == [True, False, True]
    error = outcome.answers[1].error
    assert error is not None
    assert "1,048,576 may be sent" in error["message"]
    assert outcome.answers[0].value.nbytes == 1_000_000


def test_a_list_too_long_for_the_grader_is_an_error_that_says_what_to_do(sandbox: Sandbox) -> None:
    outcome = run(sandbox, "def f(n): return ['0.125'] * n", (500_000,), (1000,))
    error = outcome.answers[0].error
    assert error is not None
    assert "an array can" in error["message"]
    assert outcome.answers[1].value == ["0.125"] * 1000


def test_large_inputs_and_outputs_do_not_wait_for_each_other(sandbox: Sandbox) -> None:
    text = "import sys\ndef f(x):\n    sys.stderr.write('x' * 900_000)\n    return x"
    array = np.random.default_rng(0).normal(size=1 << 20)
    outcome = run(sandbox, text, (array,), wall=60)
    np.testing.assert_array_equal(outcome.answers[0].value, array)


# --- nothing is left ---


def state() -> tuple[int, int, int]:
    gc.collect()
    children = [
        place.name
        for place in Path("/proc").glob("[0-9]*")
        if place.joinpath("stat").exists()
        and place.joinpath("stat").read_text().rpartition(")")[2].split()[1] == str(os.getpid())
    ]
    return len(os.listdir("/proc/self/fd")), threading.active_count(), len(children)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_many_runs_leave_no_handle_thread_process_or_folder(sandbox: Sandbox) -> None:
    texts = [
        "def f(): return 1",
        "import os\nos._exit(0)",
        "import os\ndef f(): os.closerange(0, 64)",
        "def f(): print('x' * 300_000)",
        "def f(): open('x', 'w').write('x')",
    ]
    run(sandbox, texts[0])
    before = state()
    for n in range(15):
        run(sandbox, texts[n % len(texts)], output=100_000)
    assert state() == before
    assert os.listdir(sandbox._place) == ["site"]


def test_the_sandbox_leaves_no_folder() -> None:
    with Sandbox() as made:
        place = made._place
        assert place.is_dir()
    assert not place.exists()


class Interrupted(process.Process):
    def _watch(self) -> None:
        time.sleep(0.5)
        raise KeyboardInterrupt


def test_ctrl_c_ends_the_process(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Interrupted] = []

    def make(*arguments: Any) -> Interrupted:
        made.append(Interrupted(*arguments))
        return made[-1]

    monkeypatch.setattr("minires.course.sandbox.Process", make)
    with pytest.raises(KeyboardInterrupt):
        run(sandbox, "while True: pass")
    assert made[0]._process.returncode is not None
    assert os.listdir(sandbox._place) == ["site"]
    for thread in threading.enumerate():
        if thread.daemon:
            thread.join(5)
    made[0]._close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="by a call of Linux")
def test_a_grader_that_is_killed_leaves_no_process() -> None:
    code = """
import os, sys
from minires.course.sandbox import Sandbox
with Sandbox() as sandbox:
    print(sandbox._place, flush=True)
    text = "import os, time\\ntime.sleep(99)"
    sandbox.run(cells=[("text", 1, text)], task="f", calls=[((), {})])
"""
    grader = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert grader.stdout is not None
    place = grader.stdout.readline().decode().strip()
    deadline = time.monotonic() + 30
    while not _asleep(place) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _asleep(place)
    time.sleep(1.0)  # until it has shut itself in
    grader.kill()
    grader.wait()
    grader.stdout.close()
    while _asleep(place) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _asleep(place)
    remove(Path(place))


def _asleep(place: str) -> list[str]:
    """The processes whose command names the place."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if place and place in path.read_text():
                found.append(str(path))
        except OSError:
            continue
    return found


class OnMacOS:
    """What the sandbox asks of ``sys``, as it is there."""

    platform, executable = "darwin", sys.executable


@pytest.mark.skipif(sys.platform == "win32", reason="a script of the shell")
@pytest.mark.parametrize("relative", [False, True])
def test_on_macos_the_shutting_program_is_started_by_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool
) -> None:
    """The process's own PATH is empty; a stand-in for the program takes its place here."""
    program = tmp_path / "sandbox-exec"
    program.write_text('#!/bin/sh\ntest "$1" = -p || exit 9\nshift 2\nexec "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(module, "sys", OnMacOS)
    monkeypatch.setattr(module, "macos_profile", lambda readable, folder: f"for {folder}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "." if relative else str(tmp_path))
    with Sandbox() as made:
        assert made._command(tmp_path)[0] == str(program)
        assert run(made, "def f(): return 1").answers[0].value == 1
