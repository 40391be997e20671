"""Sentences computed from the numbers of a run: what it shows, and what its figures show.

Nothing here is said because it is expected.  A claim about two networks is made when their errors
lie at least one point apart and, where there are several seeds, when no seed of one reaches into
the range of the other; else the sentence says that the run does not settle it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minires.viz.groups import Band, Group, as_float, finite_mean

__all__ = ["describe_curves", "describe_flow", "describe_ledger", "findings", "joined"]

_POINT = 1.0


def joined(parts: Sequence[str]) -> str:
    """A list as it is said.

    >>> joined(["20"]), joined(["20", "56"]), joined(["20", "56", "110"])
    ('20', '20 and 56', '20, 56 and 110')
    """
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def plain_number(value: float) -> str:
    """A few digits, written so that it can be read aloud.

    >>> plain_number(0.01234), plain_number(34.21), plain_number(1.2e-9)
    ('0.012', '34', '1.2e-09')
    """
    if not math.isfinite(value):
        return "no finite value"
    if value == 0 or 1e-5 <= abs(value) < 1e5:
        digits = 0 if value == 0 else max(0, 1 - math.floor(math.log10(abs(value))))
        return f"{value:,.{digits}f}"
    return f"{value:.1e}"


def percent(value: float) -> str:
    """An error as it is written in a sentence.

    >>> percent(3.456)
    '3.5%'
    """
    return f"{value:.1f}%" if math.isfinite(value) else "an error that was not measured"


def describe_curves(groups: Sequence[Group]) -> str:
    """Alternative text of the training curves, with this run's numbers."""
    if not groups:
        return "Two empty panels: no run was finished."
    parts = ["Line charts of training error and test error against the epoch, on one scale."]
    for title, key in (("Training error", "train_error"), ("Test error", "test_error")):
        lines = []
        for group in groups:
            curve = group.curve(key)
            finite = np.flatnonzero(np.isfinite(curve.mean))
            if not len(finite):
                lines.append(f"{group.name} has no finite value")
                continue
            first, last = finite[0], finite[-1]
            end = f"{percent(float(curve.mean[last]))} after epoch {curve.x[last]:g}"
            start = f"{percent(float(curve.mean[first]))} after epoch {curve.x[first]:g}"
            spread = ""
            if curve.seeds > 1:
                low, high = float(curve.low[last]), float(curve.high[last])
                spread = f" (seeds from {percent(low)} to {percent(high)})"
            lines.append(
                f"{group.name} goes from {start} to {end}{spread}"
                if first != last
                else f"{group.name} is at {end}{spread}"
            )
        parts.append(f"{title}: {'; '.join(lines)}.")
    return " ".join(parts)


def describe_flow(groups: Sequence[Group]) -> str:
    """Alternative text of the gradient flow, with this run's numbers."""
    if not groups:
        return "Empty panels: no run was finished."
    parts = [
        "Line charts of the root-mean-square of the gradient at each block's input, on a "
        "logarithmic scale."
    ]
    for moment, title in (("initial", "At initialisation"), ("trained", "After training")):
        lines = []
        for group in groups:
            ends = _finite_ends(group.flow(moment, "grad_rms"))
            if ends is None:
                lines.append(f"{group.name} has no finite value")
            else:
                first, last = map(plain_number, ends)
                lines.append(f"{group.name} has {first} at its first block and {last} at its last")
        parts.append(f"{title}: {'; '.join(lines)}.")
    shares = []
    for group in groups:
        means = {m: finite_mean(group.flow(m, "skip_share").mean) for m in ("initial", "trained")}
        if any(map(math.isfinite, means.values())):
            shares.append(
                f"{group.name} {_share_text(means['initial'])} at initialisation and "
                f"{_share_text(means['trained'])} after training"
            )
    if shares:
        parts.append(f"Share over the skip, mean over the blocks: {'; '.join(shares)}.")
    return " ".join(parts)


def describe_ledger(data: Mapping[str, Any]) -> str:
    """Alternative text of a ledger.

    >>> describe_ledger({"blocks": [{"name": "0", "branch_norm": 2.0}]})
    "Norm of the gradient at each block's fork. Block 0: branch 2.0."
    """
    lines = []
    for block in data.get("blocks") or ():
        line = f"Block {block.get('name')}:"
        if block.get("skip_norm") is not None:
            line += f" skip {plain_number(as_float(block['skip_norm']))},"
        line += f" branch {plain_number(as_float(block.get('branch_norm')))}"
        if block.get("share") is not None:
            line += f", share over the skip {_share_text(as_float(block['share']))}"
        lines.append(line + ".")
    return " ".join(["Norm of the gradient at each block's fork.", *lines])


def findings(groups: Sequence[Group]) -> list[str]:
    """What a run shows, one sentence or two for each thing that can be said from its numbers."""
    said = _diverged(groups)
    for kind in dict.fromkeys(group.kind for group in groups):
        depths = [g for g in groups if g.kind == kind and math.isfinite(g.final("train_error"))]
        if len(depths) > 1:
            said.append(_depth_effect(depths[0], depths[-1]))
    plain = {group.depth: group for group in groups if group.kind == "plain"}
    for kind in dict.fromkeys(group.kind for group in groups if group.kind != "plain"):
        pairs = [(plain[g.depth], g) for g in groups if g.kind == kind and g.depth in plain]
        # The shallowest and the deepest tell the story; the table has those between.
        for pair in pairs[:1] + pairs[1:][-1:]:
            said += _skip_effect(*pair)
    if groups:
        deepest = max(group.depth for group in groups)
        said += _flow_effect([group for group in groups if group.depth == deepest])
    if not said:
        said += [
            f"{group.name} ends with a training error of {percent(group.final('train_error'))} "
            f"and a test error of {percent(group.final('test_error'))}."
            for group in groups
        ]
    return said


def apart(high: Group, low: Group, key: str = "train_error") -> bool:
    """Whether no seed of ``low`` reaches as high as a seed of ``high``."""
    return min(high.values(key)) > max(low.values(key))


def _diverged(groups: Sequence[Group]) -> list[str]:
    names = [
        group.name
        if group.diverged == len(group.runs)
        else f"{group.name} ({group.diverged} of {len(group.runs)} seeds)"
        for group in groups
        if group.diverged
    ]
    if not names:
        return []
    return [f"The loss stopped being a finite number in {joined(names)}: training diverged."]


def _depth_effect(shallow: Group, deep: Group) -> str:
    before, after = shallow.final("train_error"), deep.final("train_error")
    rise = after - before
    start = f"{deep.name} ends with a training error of {percent(after)}, "
    if abs(rise) < _POINT:
        return (
            f"{start}less than a point from the {percent(before)} of {shallow.name}: "
            f"no degradation to be seen between these depths."
        )
    if rise < 0:
        text = f"{start}{-rise:.1f} points below {shallow.name} ({percent(before)})"
        settled = apart(shallow, deep)
        return f"{text}: more depth, no degradation." if settled else f"{text}; {_UNSETTLED}"
    text = f"{start}{rise:.1f} points above {shallow.name} ({percent(before)})"
    if not apart(deep, shallow):
        return f"{text}; {_UNSETTLED}"
    if deep.kind == "plain":
        return (
            f"{text}. This is degradation: the deeper network does worse on the very data it was "
            f"trained on, so over-fitting cannot be the cause."
        )
    return f"{text}: after this many epochs the deeper network is behind with skips, too."


_UNSETTLED = "the ranges of their seeds overlap, so this run does not settle which is better."


def _skip_effect(plain: Group, other: Group) -> list[str]:
    before, after = plain.final("train_error"), other.final("train_error")
    if not (math.isfinite(before) and math.isfinite(after)):
        return []
    drop = before - after
    start = f"At depth {plain.depth}, {other.name} ends "
    if abs(drop) < _POINT:
        return [
            f"{start}with {percent(after)} and {plain.name} with {percent(before)}: less than a "
            f"point between them."
        ]
    side, higher, lower = ("below", plain, other) if drop > 0 else ("above", other, plain)
    text = (
        f"{start}{abs(drop):.1f} points {side} {plain.name} in training error "
        f"({percent(after)} against {percent(before)})"
    )
    if not apart(higher, lower):
        return [f"{text}; {_UNSETTLED}"]
    tests = plain.final("test_error") - other.final("test_error")
    if not math.isfinite(tests):
        return [f"{text}."]
    if abs(tests) < _POINT:
        return [f"{text}; in test error less than a point is between them."]
    side, higher, lower = ("below", plain, other) if tests > 0 else ("above", other, plain)
    if not apart(higher, lower, "test_error"):
        return [f"{text}; in test error the ranges of their seeds overlap."]
    return [f"{text} and {abs(tests):.1f} points {side} it in test error."]


def _flow_effect(groups: Sequence[Group]) -> list[str]:
    """How the gradient changes on its way back through the deepest networks."""
    said = []
    changes = []
    for group in groups:
        ends = _finite_ends(group.flow("initial", "grad_rms"))
        if ends is not None and min(ends) > 0:
            changes.append(f"{_change(ends[0] / ends[1])} in {group.name}")
    if changes:
        said.append(
            "Before training, on the way back from the last block to the first, the gradient's "
            f"root-mean-square {joined(changes)}."
        )
    for group in groups:
        before, after = (
            finite_mean(group.flow(moment, "skip_share").mean) for moment in ("initial", "trained")
        )
        if math.isfinite(before) and math.isfinite(after):
            said.append(
                f"In {group.name} the skip brings back a share of {_share_text(before)} of the "
                f"gradient, as a mean over the blocks, before training and {_share_text(after)} "
                f"after it."
            )
    return said


def _change(factor: float) -> str:
    """A factor as a verb and two digits.

    >>> _change(1494.97), _change(0.2), _change(1.04)
    ('grows 1,500-fold', 'falls to one part in 5.0', 'stays level')
    """
    if 0.9 < factor < 1.1:
        return "stays level"
    size = plain_number(float(f"{max(factor, 1 / factor):.2g}"))
    return f"grows {size}-fold" if factor > 1 else f"falls to one part in {size}"


def _share_text(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "not measured"


def _finite_ends(curve: Band) -> tuple[float, float] | None:
    """The mean at the first and at the last block that have a finite one."""
    finite = curve.mean[np.isfinite(curve.mean)]
    return (float(finite[0]), float(finite[-1])) if len(finite) > 0 else None
