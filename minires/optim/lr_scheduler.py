"""Learning rates over time; ``step()`` once an epoch, after the optimiser's steps."""

from __future__ import annotations

from collections.abc import Sequence

from minires.optim.optimizer import Optimizer

__all__ = ["LRScheduler", "MultiStepLR"]


class LRScheduler:
    """Base: ``factor(epoch)`` is what the present rate of each group is multiplied by.

    The present one, as in PyTorch's chainable form: a rate that was set by hand in between counts.
    """

    def __init__(self, optimizer: Optimizer):
        self.optimizer = optimizer
        self.base_lrs: list[float] = [group["lr"] for group in optimizer.param_groups]
        self.last_epoch = 0

    def factor(self, epoch: int) -> float:
        """The factor at the start of ``epoch``, counted from 0."""
        raise NotImplementedError

    def step(self) -> None:
        """Go on to the next epoch."""
        self.last_epoch += 1
        for group in self.optimizer.param_groups:
            group["lr"] *= self.factor(self.last_epoch)

    def get_last_lr(self) -> list[float]:
        """The present rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]


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
        super().__init__(optimizer)
        self.milestones = sorted(milestones)
        self.gamma = gamma

    def factor(self, epoch: int) -> float:
        """gamma^(milestones at ``epoch``)."""
        return self.gamma ** self.milestones.count(epoch)
