"""Learning rates over time; ``step()`` once an epoch, after the optimiser's steps."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from minires.errors import StateError, UsageError
from minires.kernels.checks import number, whole
from minires.optim.optimizer import Optimizer

__all__ = [
    "CosineAnnealingLR",
    "LRScheduler",
    "LinearLR",
    "MultiStepLR",
    "SequentialLR",
    "StepLR",
]


class LRScheduler:
    """Base: ``rate`` says what the rate of a group becomes at the start of an epoch.

    It is told the present rate, so that a rate set by hand in between counts where a schedule
    multiplies (as in PyTorch's chainable form), and the group's first rate, where it is a curve.
    """

    def __init__(self, optimizer: Optimizer):
        if not isinstance(optimizer, Optimizer):
            raise UsageError(
                f"{type(self).__name__}: optimizer must be an Optimizer, such as optim.SGD(...), "
                f"not {type(optimizer).__name__}."
            )
        self.optimizer = optimizer
        # The first rate of a group is kept with it: the next schedule starts from there too.
        self.base_lrs: list[float] = [
            group.setdefault("initial_lr", group["lr"]) for group in optimizer.param_groups
        ]
        self.last_epoch = 0
        self.start()

    def rate(self, present: float, base: float, epoch: int) -> float:
        """The rate in ``epoch``, counted from 0, where the first was ``base``."""
        raise NotImplementedError

    def start(self) -> None:
        """Set the rates of epoch 0."""
        self.last_epoch = 0
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.rate(base, base, 0)

    def step(self) -> None:
        """Go on to the next epoch."""
        self.last_epoch += 1
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = self.rate(group["lr"], base, self.last_epoch)

    def get_last_lr(self) -> list[float]:
        """The present rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Where it is, and what it was made with; the rates are in the optimiser's state."""
        return {
            "last_epoch": self.last_epoch,
            "base_lrs": list(self.base_lrs),
            "settings": self._settings(),
        }

    def _settings(self) -> dict[str, Any]:
        own = ("optimizer", "base_lrs", "last_epoch", "schedulers")
        return {name: value for name, value in vars(self).items() if name not in own}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict` of a schedule made with the same arguments.

        Raises StateError for a state that is none, or of other groups; nothing is changed.
        """
        epoch, rates = self._check_state(state)
        self.last_epoch, self.base_lrs = epoch, rates

    def _check_state(self, state: Mapping[str, Any]) -> tuple[int, list[float]]:
        try:
            epoch, rates = int(state["last_epoch"]), [float(rate) for rate in state["base_lrs"]]
        except (KeyError, TypeError, ValueError):
            raise StateError(f"{type(self).__name__}: this is no state of a schedule.") from None
        if state.get("settings") != self._settings():
            raise StateError(
                f"{type(self).__name__}: the state is of a schedule with {state.get('settings')}, "
                f"and this one has {self._settings()}."
            )
        if len(rates) != len(self.base_lrs):
            raise StateError(
                f"{type(self).__name__}: the state is of {len(rates)} groups of parameters, and "
                f"the optimiser has {len(self.base_lrs)}."
            )
        return epoch, rates


class MultiStepLR(LRScheduler):
    """The rate times ``gamma`` at each milestone.

    Unless somebody else changes it, lr = base * gamma^(milestones passed).

    Args:
        optimizer: whose rates are changed.
        milestones: epochs, in any order; a number that stands twice counts twice.
        gamma: the factor.

    >>> import minires as mr
    >>> optimizer = mr.optim.SGD([mr.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> schedule = MultiStepLR(optimizer, milestones=[1, 3])
    >>> rates = []
    >>> for epoch in range(4):
    ...     rates.append(round(optimizer.param_groups[0]["lr"], 6))
    ...     schedule.step()
    >>> rates
    [1.0, 0.1, 0.1, 0.01]
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1):
        if not isinstance(milestones, Iterable):
            raise UsageError(
                f"MultiStepLR: milestones must be a list of epochs, got {milestones!r}."
            )
        self.milestones = sorted(whole(epoch, "MultiStepLR: a milestone") for epoch in milestones)
        self.gamma = number(gamma, "MultiStepLR: gamma")
        super().__init__(optimizer)

    def rate(self, present: float, base: float, epoch: int) -> float:
        """present * gamma^(milestones at ``epoch``)."""
        return present * self.gamma ** self.milestones.count(epoch)


class StepLR(LRScheduler):
    """The rate times ``gamma`` every ``step_size`` epochs.

    Args:
        optimizer: whose rates are changed.
        step_size: epochs between two changes, at least 1.
        gamma: the factor.
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1):
        if whole(step_size, "StepLR: step_size") < 1:
            raise UsageError(f"StepLR: step_size must be at least 1, got {step_size}.")
        self.step_size, self.gamma = step_size, number(gamma, "StepLR: gamma")
        super().__init__(optimizer)

    def rate(self, present: float, base: float, epoch: int) -> float:
        """present * gamma where ``epoch`` is a multiple of step_size, but not at 0."""
        return present * self.gamma if epoch and epoch % self.step_size == 0 else present


class LinearLR(LRScheduler):
    """From ``start_factor`` to ``end_factor`` times the base rate, in even steps: a warm-up.

    Args:
        optimizer: whose rates are changed.
        start_factor: of epoch 0, above 0 and up to 1.
        end_factor: of epoch ``total_iters`` and all that follow, from 0 to 1.
        total_iters: how many epochs it takes.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        start_factor: float = 1.0 / 3.0,
        end_factor: float = 1.0,
        total_iters: int = 5,
    ):
        start_factor = number(start_factor, "LinearLR: start_factor")
        end_factor = number(end_factor, "LinearLR: end_factor")
        total_iters = whole(total_iters, "LinearLR: total_iters")
        if not (0.0 < start_factor <= 1.0 and 0.0 <= end_factor <= 1.0 and total_iters >= 1):
            raise UsageError(
                "LinearLR: start_factor must be above 0 and at most 1, end_factor from 0 to 1, and "
                f"total_iters at least 1; got {start_factor}, {end_factor} and {total_iters}."
            )
        self.start_factor, self.end_factor = start_factor, end_factor
        self.total_iters = total_iters
        super().__init__(optimizer)

    def rate(self, present: float, base: float, epoch: int) -> float:
        """base * (start + (end - start) * min(epoch, total_iters) / total_iters)."""
        done = min(epoch, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * done)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the base rate down to ``eta_min`` (Loshchilov and Hutter 2017, eq. 5).

        lr = eta_min + (base - eta_min) * (1 + cos(pi * epoch / T_max)) / 2

    Args:
        optimizer: whose rates are changed.
        T_max: epochs on the way down, at least 1; the same way up follows.
        eta_min: the lowest rate.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0):
        if whole(T_max, "CosineAnnealingLR: T_max") < 1:
            raise UsageError(f"CosineAnnealingLR: T_max must be at least 1, got {T_max}.")
        self.T_max, self.eta_min = T_max, number(eta_min, "CosineAnnealingLR: eta_min")
        super().__init__(optimizer)

    def rate(self, present: float, base: float, epoch: int) -> float:
        """The point of the cosine at ``epoch``."""
        height = (1.0 + math.cos(math.pi * epoch / self.T_max)) / 2.0
        return self.eta_min + (base - self.eta_min) * height


class SequentialLR(LRScheduler):
    """One schedule after the other, each from its own epoch 0 on.

    Args:
        optimizer: whose rates are changed.
        schedulers: of the same optimiser, in order.
        milestones: at which epoch each but the first begins, in rising order.

    >>> import minires as mr
    >>> optimizer = mr.optim.SGD([mr.tensor([1.0], requires_grad=True)], lr=1.0)
    >>> warm_up = LinearLR(optimizer, start_factor=0.1, total_iters=2)
    >>> drops = MultiStepLR(optimizer, milestones=[1])
    >>> schedule = SequentialLR(optimizer, [warm_up, drops], milestones=[2])
    >>> rates = []
    >>> for epoch in range(4):
    ...     rates.append(round(optimizer.param_groups[0]["lr"], 6))
    ...     schedule.step()
    >>> rates
    [0.1, 0.55, 1.0, 0.1]
    """

    def __init__(
        self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]
    ):
        if not schedulers or any(s.optimizer is not optimizer for s in schedulers):
            raise UsageError(
                "SequentialLR: needs schedules, all of the optimiser it is given, not "
                f"{schedulers!r}."
            )
        if len(milestones) != len(schedulers) - 1 or sorted(set(milestones)) != list(milestones):
            raise UsageError(
                f"SequentialLR: {len(schedulers)} schedules need {len(schedulers) - 1} rising "
                f"milestones, got {list(milestones)}."
            )
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        super().__init__(optimizer)

    def start(self) -> None:
        """The rates of epoch 0 of the first schedule."""
        self.last_epoch = 0
        self.schedulers[0].start()

    def step(self) -> None:
        """Go on to the next epoch, and at a milestone to the next schedule."""
        self.last_epoch += 1
        current = self.schedulers[bisect_right(self.milestones, self.last_epoch)]
        if self.last_epoch in self.milestones:
            current.start()
        else:
            current.step()

    def state_dict(self) -> dict[str, Any]:
        """Where it is, and each of its schedules."""
        return {**super().state_dict(), "schedulers": [s.state_dict() for s in self.schedulers]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; StateError if its schedules are not as many."""
        self._check_state(state)
        inner = state.get("schedulers")
        if not isinstance(inner, list) or len(inner) != len(self.schedulers):
            raise StateError("SequentialLR: the state is of another row of schedules.")
        for schedule, found in zip(self.schedulers, inner, strict=True):
            schedule._check_state(found)
        super().load_state_dict(state)
        for schedule, found in zip(self.schedulers, inner, strict=True):
            schedule.load_state_dict(found)
