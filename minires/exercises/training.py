"""Exercises of notebook 13: the schedule, epochs and steps, what an error is, what a log says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from minires.exercises.checking import NotYet, Wrong, call, choose, close, exercise, numbers

__all__ = [
    "LONG_RUNS",
    "LongRun",
    "drop_in_epochs",
    "epoch_loss",
    "rate",
    "top1_error",
    "what_failed",
]

_RTOL = 1e-6  # rates and means of at most 200 numbers; float32 attempts stay below


class LongRun(NamedTuple):
    """Errors in percent of one of the long runs that docs/results.md tells of.

    ``batch_error`` is of each epoch's batches, while the weights moved; ``train_error`` and
    ``test_error`` are of all 10,000 training and 10,000 test images after the last step.
    """

    batch_error: tuple[float, ...]
    train_error: float
    test_error: float


# By kind, depth and seed: ten epochs of 157 steps, width 8; rate 0.1, divided by 10 after the fifth
# and after the eighth.  A test holds them to docs/results.json, where their commands are.
LONG_RUNS: Mapping[tuple[str, int, int], LongRun] = {
    ("plain", 20, 0): LongRun(
        (50.84, 25.18, 21.41, 19.13, 17.04, 13.34, 12.65, 11.77, 11.2, 10.94),
        10.01,
        12.51,
    ),
    ("plain", 32, 0): LongRun(
        (48.62, 28.53, 23.58, 20.94, 19.07, 15.28, 14.68, 14.01, 13.29, 13.25),
        12.28,
        15.23,
    ),
    ("plain", 56, 0): LongRun(
        (84.39, 61.26, 43.66, 34.34, 31.85, 27.4, 26.59, 26.04, 25.16, 25.03),
        23.82,
        25.28,
    ),
    ("residual", 20, 0): LongRun(
        (36.04, 20.64, 16.79, 14.5, 13.01, 9.88, 8.91, 8.47, 7.66, 7.67),
        7.09,
        11.01,
    ),
    ("residual", 32, 0): LongRun(
        (35.34, 19.64, 16.5, 14.33, 12.39, 9.8, 8.43, 7.81, 7.03, 7.13),
        6.53,
        10.67,
    ),
    ("residual", 56, 0): LongRun(
        (60.77, 29.13, 20.86, 16.47, 14.8, 11.0, 10.27, 9.73, 9.11, 9.06),
        8.59,
        11.78,
    ),
    ("plain", 20, 1): LongRun(
        (48.84, 23.27, 18.73, 15.95, 14.26, 10.51, 9.67, 9.31, 8.57, 8.41),
        7.93,
        10.53,
    ),
    ("plain", 32, 1): LongRun(
        (51.1, 28.03, 23.53, 20.55, 18.75, 14.78, 13.87, 13.56, 12.8, 12.81),
        11.9,
        14.59,
    ),
    ("plain", 56, 1): LongRun(
        (71.18, 49.46, 42.38, 35.95, 32.96, 26.44, 24.75, 24.19, 23.55, 23.44),
        22.19,
        23.58,
    ),
    ("residual", 20, 1): LongRun(
        (39.16, 21.95, 17.94, 15.94, 14.45, 10.86, 9.85, 9.6, 8.87, 8.88),
        8.31,
        11.49,
    ),
    ("residual", 32, 1): LongRun(
        (38.59, 20.17, 17.11, 14.83, 13.61, 9.35, 8.37, 8.03, 7.09, 6.99),
        6.53,
        10.84,
    ),
    ("residual", 56, 1): LongRun(
        (44.61, 21.81, 16.47, 14.07, 12.06, 8.67, 7.64, 6.97, 6.19, 5.82),
        5.43,
        10.61,
    ),
}


@exercise(
    "The rate at a step",
    "How many of the milestones has this step reached? Steps are counted from 0, and the step with "
    "the number of a milestone is the first at the new rate.",
)
def rate(attempt: Any) -> str:
    """The learning rate at a step of a schedule that divides it by 10 at each milestone.

    The attempt takes ``(step, base, milestones)``: the step from 0, the first rate, and the steps
    at which the rate falls, a list.  It returns the rate of that step.
    """
    for base, milestones, steps in [
        (0.1, [100, 150], (0, 99, 101, 199, 100, 149, 150)),
        (0.4, [7], (6, 8, 7)),
        (1.0, [3, 5, 9], (2, 4, 20, 3, 5, 8, 9)),
        (0.1, [], (0, 50)),
    ]:
        for step in steps:
            passed = sum(step >= m for m in milestones)
            late = sum(step > m for m in milestones)
            what = f"rate({step}, {base}, {milestones})"
            found = numbers(call(attempt, step, base, list(milestones)), what)
            wrong = [
                (
                    base * 0.1**late,
                    f"Step {step} is a milestone, and the first step at the new rate.",
                ),
                (
                    base * 0.1 ** sum(step + 1 >= m for m in milestones),
                    "This falls one step early. Steps are counted from 0.",
                ),
                (base * 0.1 ** min(passed, 1), "Each milestone divides by 10 once more."),
                (base / max(1, 10 * passed), "Two milestones divide by 10 * 10, not by 20."),
                (base * 0.1 ** len(milestones), "Only milestones that have been reached count."),
                (base, "The rate is as it was at first."),
                (base * 10.0**passed, "The rate is to fall."),
            ]
            _close(found, base * 0.1**passed, what, wrong)
    return "As MultiStepLR, stepped after each step."


@exercise(
    "Steps and epochs",
    "The last batch of an epoch may be smaller; it is a step all the same. Epochs are counted from "
    "1, as in the log: in which epoch is step 0, and in which is the first step after it?",
)
def drop_in_epochs(attempt: Any) -> str:
    """Steps an epoch, and the epoch in which the rate falls.

    The attempt takes ``(images, batch_size, drop)``, where ``drop`` is the first step, counted from
    0, at the lower rate.  It returns ``(steps_per_epoch, epoch)``, with the epoch of that step
    counted from 1.
    """
    for images, batch_size, drop in [
        (50_000, 128, 32_000),
        (5_000, 64, 400),
        (1_000, 50, 100),
        (600, 64, 0),
        (129, 128, 7),
    ]:
        what = f"for {images} images, batches of {batch_size} and a drop at step {drop}:"
        result = call(attempt, images, batch_size, drop)
        if not isinstance(result, (tuple, list)) or len(result) != 2:
            raise Wrong("Return a pair (steps_per_epoch, epoch).")
        if any(part is None or part is Ellipsis for part in result):
            raise NotYet("One of the pair is not there yet.")
        steps = -(-images // batch_size)
        _close(
            result[0],
            steps,
            f"{what} steps_per_epoch",
            [
                (images // batch_size, "The smaller last batch is a step, too: round up."),
                (images / batch_size, "There are whole steps only: round up."),
                (images // batch_size + 1, "Here nothing is left over for a smaller last batch."),
            ],
        )
        _close(
            result[1],
            drop // steps + 1,
            f"{what} epoch",
            [
                (-(-drop // steps), "Where the drop begins an epoch it belongs to the new one."),
                (drop // steps, "Epochs are counted from 1: step 0 is in epoch 1."),
                (drop / steps + 1, "This is between two epochs; in which is the step?"),
                (drop / steps, "This is between two epochs; in which is the step?"),
            ],
        )
    return "The steps as len(DataLoader), the epoch as in History."


@exercise(
    "The loss of an epoch",
    "Each entry is a mean over its batch. How many images does each of them speak for?",
)
def epoch_loss(attempt: Any) -> str:
    """The mean loss over the images of an epoch.

    The attempt takes ``(batch_losses, batch_sizes)``, (B,) each, where a batch's loss is the mean
    over its images.  It returns the mean over all images.
    """
    rng = np.random.default_rng(133)
    for sizes in ([64, 64, 8], [32, 32, 32, 1], [5, 5, 5]):
        batch_sizes = np.array(sizes)
        losses = rng.uniform(0.5, 1.5, len(sizes))
        losses[-1] += 2.0
        total = (losses * batch_sizes).sum()
        _close(
            numbers(call(attempt, losses, batch_sizes), "the loss"),
            total / batch_sizes.sum(),
            f"the loss of batches of {sizes}",
            [
                (
                    losses.mean(),
                    f"This is the mean of the batches: the {sizes[-1]} images of the last count as "
                    f"much as {sizes[0]}.",
                ),
                (total, "This is the sum over the images, not their mean."),
                (losses.sum(), "This is the sum of the batches."),
                (total / len(sizes), "Divide by the number of images, not of batches."),
                (losses.sum() / batch_sizes.sum(), "A batch's loss is a mean already: weight it."),
                (total / (len(sizes) * sizes[0]), "The last batch is smaller."),
            ],
        )
    return "As History.batch_loss."


@exercise(
    "The error in percent",
    "The class with the largest logit is the answer. What does argmax say of a row with a nan in "
    "it, and what should count?",
)
def top1_error(attempt: Any) -> str:
    """The share of wrong answers, in percent; a row with a nan counts as wrong.

    The attempt takes ``logits`` (N, classes) and ``labels`` (N,), and returns the percentage.
    """
    rng = np.random.default_rng(134)
    for N, classes, broken in [(40, 10, 0), (25, 4, 5), (6, 3, 6)]:
        logits = rng.standard_normal((N, classes))
        labels = np.where(rng.random(N) < 0.6, logits.argmax(1), rng.integers(0, classes, N))
        clean = logits.copy()
        rows = rng.permutation(N)[:broken]
        logits[rows, labels[rows]] = np.nan  # argmax would call these right
        if broken == N:  # and these would be right without the nan
            columns = (labels + 1) % classes
            logits[rows] = clean[rows]
            logits[rows, labels[rows]] = 9.0
            logits[rows, columns[rows]] = np.nan
        nan = np.isnan(logits).any(1)
        argmax = logits.argmax(1)
        bad = ((argmax != labels) | nan).mean()
        ignoring = (np.nanargmax(logits, 1) != labels).mean()
        what = f"the error of {N} rows, {broken} with a nan"
        found = numbers(call(attempt, logits, labels), what)
        wrong = [
            (bad, "This is a share from 0 to 1; percent are wanted."),
            (100 * (1 - bad), "This is the accuracy, the share of right answers."),
            (1 - bad, "This is the share of right answers, from 0 to 1."),
            (N * bad, "This is how many are wrong; of 100, it would be so many percent."),
        ]
        if broken:
            wrong = [
                (
                    100 * (argmax != labels).mean(),
                    "argmax takes a nan for the largest number, so a network that gives nan where "
                    "the label is would be right. Such a row counts as wrong.",
                ),
                (100 * ignoring, "The nan are left out; a row with one counts as wrong."),
                (
                    100 * (argmax != labels)[~nan].mean() if not nan.all() else np.nan,
                    "The rows with a nan are left out; they count as wrong.",
                ),
                (100 * (1 - bad), "This is the accuracy, the share of right answers."),
            ]
        _close(found, 100 * bad, what, wrong)
    return "As mr.train.errors, in percent."


@exercise(
    "Over-fitting, or not optimised?",
    "Over-fitting means: better on the images that it was trained on, worse on others. So which of "
    "the two errors tells the two failures apart?",
)
def what_failed(attempt: Any) -> str:
    """Why a deeper network is worse than a shallower one, if it is.

    The attempt takes ``(shallow, deep)``, each ``(train_error, test_error)`` in percent after
    training.  It returns 'neither' if the deep one's test error is not higher, 'fails to optimise'
    if it is and its training error is higher too, and 'over-fits' if its training error is lower.
    """

    def ends(kind: str, depth: int, seed: int) -> tuple[float, float]:
        run = LONG_RUNS[kind, depth, seed]
        return run.train_error, run.test_error

    over, fails, neither = "over-fits", "fails to optimise", "neither"
    cases: list[tuple[str, tuple[float, float], tuple[float, float], str]] = [
        ("plain-20 and plain-56", ends("plain", 20, 0), ends("plain", 56, 0), fails),
        ("two networks", (8.0, 28.0), (0.5, 32.0), over),
        ("residual-20 and -56", ends("residual", 20, 1), ends("residual", 56, 1), neither),
        ("two networks", (12.0, 14.0), (13.0, 30.0), fails),
        ("two networks", (12.0, 20.0), (0.1, 19.0), neither),
        ("two networks", (2.0, 9.0), (1.9, 12.0), over),
        ("two networks", (12.0, 14.0), (8.0, 30.0), over),
    ]
    for name, shallow, deep, right in cases:
        said = (
            f"{name}: training error {shallow[0]:g} and {deep[0]:g}, test error {shallow[1]:g} and "
            f"{deep[1]:g}. "
        )
        overlooked = {
            (neither, over): "The training error does not matter where the test error is no worse.",
            (neither, fails): "The deep one is no worse on test images.",
            (fails, over): "The deep one is worse on its own training images: no over-fitting.",
            (fails, neither): "The deep one is worse on both.",
            (over, fails): "The deep one is better on its training images, so it was optimised.",
            (over, neither): "The deep one is worse on test images.",
        }
        options = {
            option: said + overlooked.get((right, option), "") for option in (over, fails, neither)
        }
        choose(call(attempt, shallow, deep), right, options)
    return "Degradation, as He et al. 2015 use the word, is the failure on the training images."


def _close(found: Any, right: float, what: str, wrong: list[tuple[float, str]]) -> None:
    """Wrong unless ``found`` is ``right``, with what a known mistake overlooks that gives it."""
    value = numbers(found, what)
    if value.shape == (1,):
        value = value.reshape(())
    why = ""
    if value.shape == ():
        for given, text in wrong:
            if given != right and abs(float(value) - given) <= _RTOL * abs(given):
                why = text
                break
    close(value, right, what, rtol=_RTOL, why=why)
