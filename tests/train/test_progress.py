"""Progress: a bar on a terminal, and a line an epoch anywhere else."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest

import minires as mr
from minires.train import History, Progress, Step, fit


class Terminal(io.StringIO):
    """A text file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def history(epoch: int = 1, **evaluated: float) -> History:
    return History(
        epoch=list(range(1, epoch + 1)),
        lr=[0.1] * epoch,
        batch_loss=[2.0] * (epoch - 1) + [1.2345],
        batch_error=[90.0] * (epoch - 1) + [43.21],
        seconds=[9.0] * (epoch - 1) + [0.5],
        loss={name: [0.0] for name in evaluated},
        error={name: [99.0] * (epoch - 1) + [value] for name, value in evaluated.items()},
    )


def redraws(file: io.StringIO) -> list[str]:
    """What the bar showed, one after the other."""
    return [text for text in re.split(r"[\r\n]+", file.getvalue()) if text.strip()]


def test_without_a_terminal_there_is_one_line_an_epoch() -> None:
    file = io.StringIO()
    with Progress("plain-20", epochs=3, images=100, file=file) as progress:
        for epoch in (1, 2, 3):
            for step in (1, 2):
                progress.step(Step(epoch, step, 2, 50 * step, 1.0, 50.0))
            progress.epoch(history(epoch, train=12.34, test=56.78))
    lines = file.getvalue().splitlines()
    assert lines == [
        f"plain-20  epoch {epoch}/3  loss 1.2345  error 43.2%  train error 12.3%"
        "  test error 56.8%  200 images/s"
        for epoch in (1, 2, 3)
    ]


def test_without_a_terminal_and_evaluations_the_line_says_what_there_is() -> None:
    file = io.StringIO()
    with Progress("net", epochs=1, images=100, file=file) as progress:
        progress.epoch(history())
    assert file.getvalue() == "net  epoch 1/1  loss 1.2345  error 43.2%  200 images/s\n"


def test_lines_are_written_at_once() -> None:
    class Unflushed(io.StringIO):
        flushed = 0

        def flush(self) -> None:
            self.flushed += 1

    file = Unflushed()
    with Progress("net", epochs=1, images=1, file=file) as progress:
        progress.epoch(history())
        assert file.flushed


def test_a_diverged_loss_is_shown_as_it_is() -> None:
    file = io.StringIO()
    shown = history()
    shown.batch_loss[-1] = float("nan")
    with Progress("net", epochs=1, images=1, file=file) as progress:
        progress.epoch(shown)
    assert "loss nan" in file.getvalue()


def test_on_a_terminal_a_bar_shows_loss_error_speed_and_the_time_left() -> None:
    file = Terminal()
    with Progress("plain-20", epochs=2, images=100, file=file) as progress:
        progress._bar.mininterval = 0  # draw at every step
        for epoch in (1, 2):
            for step in (1, 2):
                progress.step(Step(epoch, step, 2, 50 * step, 1.5 / step, 50.0 / step))
            progress.epoch(history(epoch))
    pattern = (
        r"plain-20: +(\d+)%\|.+\| +[\d.]+ images/s, [\d:]+ left, "
        r"epoch (\d)/2 loss (\d\.\d{3}) error (\d+\.\d)%\s*"
    )
    found = [re.fullmatch(pattern, text) for text in redraws(file)[1:5]]
    assert [match and match.groups() for match in found] == [
        ("25", "1", "1.500", "50.0"),
        ("50", "1", "0.750", "25.0"),
        ("75", "2", "1.500", "50.0"),
        ("100", "2", "0.750", "25.0"),
    ]


def test_on_a_terminal_there_are_no_lines_and_the_bar_stays_when_it_is_done() -> None:
    file = Terminal()
    with Progress("net", epochs=1, images=10, file=file) as progress:
        progress.step(Step(1, 1, 1, 10, 1.0, 10.0))
        progress.epoch(history())
    text = file.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert "epoch 1/1  loss" not in text


def test_the_bar_is_closed_when_training_fails() -> None:
    file = Terminal()

    def work() -> None:
        with Progress("net", epochs=1, images=10, file=file) as progress:
            progress.step(Step(1, 1, 2, 5, 1.0, 10.0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert file.getvalue().endswith("\n")


def test_by_default_it_writes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("net", epochs=1, images=1) as progress:
        progress.epoch(history())
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("net  epoch 1/1")


@pytest.mark.parametrize("file", [io.StringIO(), Terminal()], ids=["file", "terminal"])
def test_it_goes_with_fit(file: io.StringIO) -> None:
    mr.manual_seed(0)
    draw = np.random.default_rng(0)
    data = draw.standard_normal((10, 3)).astype(np.float32), draw.integers(0, 2, 10)
    model = mr.nn.Linear(3, 2)
    with Progress("net", epochs=2, images=10, file=file) as shown:
        if shown._bar is not None:
            shown._bar.mininterval = 0
        fit(
            model,
            mr.data.DataLoader(data, batch_size=4),
            mr.optim.SGD(model.parameters(), lr=0.1),
            epochs=2,
            on_step=shown.step,
            on_epoch=shown.epoch,
        )
    last = redraws(file)[-1]
    assert "epoch 2/2" in last
    assert "100%" in last or "images/s" in last
