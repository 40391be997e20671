"""How a network is trained: SGD with momentum, and a rate that falls in steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from minires import nn, optim
from minires.errors import UsageError
from minires.models.fixup import FixupBlock, fixup_groups
from minires.optim.lr_scheduler import LinearLR, LRScheduler, MultiStepLR, SequentialLR

__all__ = ["RECIPES", "Recipe"]

WARM_UP = 0.1  # of the learning rate, as for ResNet-110 in He et al. 2015, section 4.2


@dataclass(frozen=True)
class Recipe:
    """SGD; the rate is divided by 10 at parts of the whole, by default 1/2 and 3/4.

    Attributes:
        epochs: the length; None where it is told in steps.
        batch_size, lr, momentum, weight_decay: as their names say.
        warm_up: so many epochs (steps) at a tenth of the rate come first, and count with the rest.
        steps: the length in steps; None where it is told in epochs.
        drops: the parts of the length after which the rate is divided by 10.
        nesterov: the form of the momentum.
        augment: pad the images by 4, crop and flip them (He et al. 2015, section 4.2).

    >>> Recipe(epochs=8).length, RECIPES["he2015-cifar"].length
    (8, 64000)
    """

    epochs: int | None = None
    batch_size: int = 64
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warm_up: int = 0
    steps: int | None = None
    drops: tuple[float, ...] = (0.5, 0.75)
    nesterov: bool = False
    augment: bool = False

    @property
    def unit(self) -> str:
        """What the length, the warm-up and the schedule are counted in: 'epochs' or 'steps'."""
        return "epochs" if self.steps is None else "steps"

    @property
    def length(self) -> int:
        """How many of them."""
        length = self.epochs if self.steps is None else self.steps
        return length or 0

    def check(self, images: int, data: str) -> None:
        """Raise UsageError for a setting that cannot work on so many images."""
        if (self.epochs is None) == (self.steps is None):
            raise UsageError("give the length of the training in epochs or in steps, one of them.")
        if not 2 <= self.batch_size <= images:
            raise UsageError(
                f"batch size {self.batch_size} does not fit {images} training images of {data}: "
                f"choose 2 to {images}."
            )
        if not (math.isfinite(self.lr) and self.lr > 0):
            raise UsageError(f"lr must be a number above 0, not {self.lr}.")
        if not 0 <= self.momentum < 1:
            raise UsageError(f"momentum must be from 0 to below 1, not {self.momentum}.")
        if not (math.isfinite(self.weight_decay) and self.weight_decay >= 0):
            raise UsageError(f"weight decay must be a number from 0 on, not {self.weight_decay}.")
        if not all(0 < drop <= 1 for drop in self.drops):
            raise UsageError(f"drops must be parts of the training, 0 to 1, not {self.drops}.")
        if self.warm_up < 0 or 0 < self.length <= self.warm_up:
            raise UsageError(
                f"warm-up must be from 0 to fewer {self.unit} than the {self.length} of the "
                f"training, not {self.warm_up}."
            )

    def optimizer(self, model: nn.Module) -> optim.SGD:
        """SGD with these settings; Fixup has a tenth of the rate for some, see fixup_groups."""
        fixup = any(isinstance(module, FixupBlock) for module in model.modules())
        return optim.SGD(
            fixup_groups(model, self.lr) if fixup else model.parameters(),
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=self.nesterov,
        )

    def schedule(self, optimizer: optim.Optimizer) -> LRScheduler:
        """The learning rate, epoch by epoch or step by step."""
        drops = [math.ceil(self.length * drop) for drop in self.drops]
        if not self.warm_up:
            return MultiStepLR(optimizer, drops)
        low = LinearLR(optimizer, WARM_UP, WARM_UP, self.warm_up)
        rest = MultiStepLR(optimizer, [max(0, drop - self.warm_up) for drop in drops])
        return SequentialLR(optimizer, [low, rest], [self.warm_up])


RECIPES = {
    # 64k steps of 128 images, /10 at 32k and 48k (He et al. 2015, section 4.2).  The warm-up of
    # ResNet-110 there ends when the training error is below 80%, "about 400 iterations".
    "he2015-cifar": Recipe(batch_size=128, steps=64_000, augment=True),
    "he2015-cifar-110": Recipe(batch_size=128, steps=64_000, warm_up=400, augment=True),
    # The same, with 400 steps of warm-up at every depth (He et al. 2016, appendix).
    "he2016-cifar": Recipe(batch_size=128, steps=64_000, warm_up=400, augment=True),
    # 500 epochs, /10 after 250 and 375, Nesterov's momentum (Huang et al. 2016, section 4).
    "huang2016-cifar": Recipe(500, 128, nesterov=True, augment=True),
    # What a laptop can do.
    "short": Recipe(12, 64),
}
