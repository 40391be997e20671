"""The recorder: ledger and signal of chosen training steps, taken from the training pass itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from numbers import Integral
from types import TracebackType
from typing import Any

import numpy as np

from minires import nn
from minires.autograd import Tensor, is_grad_enabled
from minires.device import to_numpy
from minires.errors import ContractError, ShapeError, UsageError
from minires.flow.passes import block_names, check_is_model, norm
from minires.flow.recording import LoggedStep, Numbers, Recording
from minires.flow.watch import Response, Watch, weights_of
from minires.train import Step

__all__ = ["Recorder"]

Every = int | Iterable[int] | Callable[[int], bool]


class Recorder:
    """Logs, at chosen steps of training, what :func:`ledger` and :func:`signal` measure.

    It watches inside its ``with`` block, and there ``recorder.step(loss)``, called after the
    optimiser's step, ends a step of training:

        with flow.Recorder(model, every=50) as recorder:
            for x, y in loader:
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                optimizer.step()
                recorder.step(loss)
        recorder.log.plot()

    The loop of :func:`minires.train.fit` calls it itself:

        with flow.Recorder(model) as recorder:
            train.fit(model, loader, optimizer, epochs=12, on_step=recorder)

    **What is a step.**  Steps are counted from 1, one for each call of ``recorder.step``.  What
    runs in between belongs to the step: with gradient accumulation that is several passes, of which
    the last before the first backward pass is recorded, and the update is that of the whole step.
    A step to which no backward pass came is counted and not recorded.  Passes in evaluation mode or
    under ``no_grad``, and those of other instruments used in the loop, are no training passes.

    **What is recorded.**  By block what a :class:`LedgerEntry` has: skip_norm, branch_norm, share,
    cosine, grad_norm, grad_rms, forward_ratio.  By layer what a :class:`LayerSignal` has: mean,
    std, dead, grad_norm, weight_norm; and update_ratio, |w_after - w_before| / |w_before| of the
    optimiser's real step, weight and bias as one vector.  A block with parameters of its own is a
    layer too, so the weight_norm of a block with a learned scale is the size of the scale.  A
    gradient that training does not need is no value: that by the images, for a block that reads
    them.  The gradient of a branch that stochastic depth has dropped is 0, and that of its layers,
    which did not run, is no value.

    **What it changes.**  Nothing: the weights that come out have the same bits as without it.  (In
    one case the last digit may differ: a branch that reads its input more than once, such as one
    that starts with another block; see :mod:`minires.flow.watch`.)

    **What it costs.**  Nothing but a function call in steps that are not recorded.  In those that
    are, no further pass, and no arrays are kept but a copy of the weights: every answer of a layer
    is read three times, every gradient at its output once, and at each fork six arrays of its size
    once.  That is meant to be less than half of an ordinary step.

    Args:
        model: a network of blocks derived from :class:`minires.nn.ResidualBlock`.
        every: record the first step and every so many: 1, 50, 100, 150, ... for 50; or the numbers
            of the steps to record; or a function of the step's number that says whether to.
        steps: how many steps training takes, where that is known: the last is then recorded too,
            if ``every`` is a number.

    Attributes:
        log: the :class:`Recording` so far.

    Raises:
        ContractError: the model is none, or has no residual block.
        UsageError: ``every`` or ``steps`` makes no sense.

    >>> import minires as mr, minires.functional as F
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    >>> optimizer = mr.optim.SGD(model.parameters(), lr=0.1)
    >>> x, y = mr.randn(4, 1, 8, 8), mr.tensor([0, 1, 2, 3])
    >>> with Recorder(model, every=2, steps=5) as recorder:
    ...     for _ in range(5):
    ...         optimizer.zero_grad()
    ...         loss = F.cross_entropy(model(x), y)
    ...         loss.backward()
    ...         optimizer.step()
    ...         recorder.step(loss)
    >>> recorder.log.steps, recorder.log.blocks["share"].shape
    ((1, 2, 4, 5), (4, 3))
    """

    def __init__(self, model: nn.Module, *, every: Every = 50, steps: int | None = None):
        check_is_model("Recorder", model)
        if not any(isinstance(module, nn.ResidualBlock) for module in model.modules()):
            raise ContractError(
                f"Recorder: {type(model).__name__} has no residual block to look at. Build it of "
                "blocks derived from minires.nn.ResidualBlock."
            )
        self.model = model
        self._chosen = _chooser(every, steps)
        self._ended = 0  # steps
        self._logged: list[LoggedStep] = []
        self._watch: Watch | None = None  # of the pass that is to be recorded
        self._before: dict[int, np.ndarray] = {}  # the weights in that pass
        self._due = False  # whether the step that is under way is to be recorded
        self._gate = _Gate()
        self._opened: ExitStack | None = None

    @property
    def log(self) -> Recording:
        """What has been recorded so far."""
        return Recording.of(self._logged, list(block_names(self.model).values()))

    # --- the with block ---

    def __enter__(self) -> Recorder:
        if self._opened is not None:
            raise UsageError("Recorder: it is watching already; enter it once.")
        outer = nn.observing()
        if type(outer) is nn.Observer:  # one that only keeps others from seeing
            outer = None
        if outer is not None and not isinstance(outer, _Gate):
            raise UsageError(
                f"Recorder: a {type(outer).__name__} observes the blocks already, and would see "
                "nothing in here. Enter the recorder outside its block."
            )
        self._gate.outer = outer
        self._due = self._chosen(self._ended + 1)
        self._opened = ExitStack()
        self._opened.enter_context(nn.observe(self._gate))

        # Functions, not methods: a copy of the model gets these, and no recorder of its own.
        def before(module: nn.Module, inputs: Any) -> None:
            if module is self.model:
                self._begin()

        def after(module: nn.Module, inputs: Any, output: Any) -> None:
            if module is self.model and self._watch is not None and self._watch.running:
                self._watch.end(output)

        self._opened.callback(self.model.register_forward_pre_hook(before).remove)
        self._opened.callback(self.model.register_forward_hook(after).remove)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        unended = self._watch is not None and self._watch.arrived and not self._ended
        self._drop()
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        if unended and error is None:
            raise UsageError(
                "Recorder: the model was trained, but recorder.step(loss) was never called, so "
                "nothing is recorded. Call it after optimizer.step(), or give on_step=recorder to "
                "train.fit."
            )

    def __call__(self, step: Step) -> None:
        """End a step of :func:`minires.train.fit`, which calls ``on_step`` with a ``Step``."""
        if not isinstance(step, Step):
            raise UsageError(
                f"Recorder: it is called by train.fit, with a Step, not with a "
                f"{type(step).__name__}; in a loop of your own call recorder.step(loss)."
            )
        self.step(step.batch_loss)

    def step(self, loss: Tensor | float | None = None) -> None:
        """End a step of training: call it after the optimiser's step.

        Args:
            loss: of the step's batch, for the log; a number, or a tensor with one.

        Raises:
            ShapeError: the loss is not a single number.
            UsageError: outside the ``with`` block; or the step was to be recorded, and the model
                did not run in training mode.
        """
        if self._opened is None:
            raise UsageError(
                "Recorder: it watches inside its with block only: 'with flow.Recorder(model) as "
                "recorder:' around the loop, or around train.fit(..., on_step=recorder)."
            )
        value = _loss_value(loss)
        if self._due and self._watch is None:
            raise UsageError(
                f"Recorder: step {self._ended + 1} is to be recorded, but the model did not run in "
                "it. Is it the model that is trained, in training mode, outside no_grad() and "
                "without another observer?"
            )
        self._ended += 1
        if self._watch is not None and self._watch.arrived:
            self._logged.append(self._entry(self._watch, value))
        self._drop()
        self._due = self._chosen(self._ended + 1)

    # --- a pass ---

    def _begin(self) -> None:
        """A forward pass begins: watch it, if it is one of training and to be recorded."""
        if not (self._due and self.model.training and is_grad_enabled()):
            return
        if not self._gate.is_open():  # the pass is that of an instrument, used in the loop
            return
        if self._watch is not None:
            if self._watch.arrived:  # the first that a gradient came through is the one
                return
            self._watch.close()
        self._before = {id(p): to_numpy(p._data).copy() for p in self.model.parameters()}
        self._watch = self._gate.watch = Watch(self.model)
        self._watch.begin()

    def _drop(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._watch = self._gate.watch = None
        self._before = {}

    def _entry(self, watch: Watch, loss: float | None) -> LoggedStep:
        errors = [error for c in watch.crossings if (error := c.error()) is not None]
        return LoggedStep(
            step=self._ended,
            loss=loss,
            blocks=[(c.name, c.kind, c.numbers()) for c in watch.crossings],
            layers=[(r.name, self._layer(r)) for r in watch.responses],
            errors=errors,
        )

    def _layer(self, response: Response) -> Numbers:
        weights = [p for p in weights_of(response.layer) if id(p) in self._before]
        before = [self._before[id(p)] for p in weights]
        after = [to_numpy(p._data) for p in weights]
        size = math.hypot(*map(norm, before))
        change = math.hypot(*(norm(b - a) for a, b in zip(before, after, strict=True)))
        return {
            "mean": response.mean,
            "std": response.std,
            "dead": response.dead,
            "grad_norm": response.grad_norm,
            "weight_norm": size,
            "update_ratio": change / size if size else None,
        }


class _Gate(nn.Observer):
    """Stands at every fork for the whole with block, and shows the watch the pass it is to see.

    Attributes:
        watch: of the pass that is to be recorded.
        outer: the gate of a recorder of another model, whose with block is around this one.
    """

    def __init__(self) -> None:
        self.watch: Watch | None = None
        self.outer: _Gate | None = None

    def is_open(self) -> bool:
        """Whether forks are seen from here: no other instrument stands in front."""
        front = nn.observing()
        while isinstance(front, _Gate):
            if front is self:
                return True
            front = front.outer
        return False

    def _seeing(self) -> Watch | None:
        if self.watch is not None and self.watch.running:
            return self.watch
        return None if self.outer is None else self.outer._seeing()

    def fork(self, block: nn.ResidualBlock, x: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        watch = self._seeing()
        return (u, u) if watch is None else watch.fork(block, x, u)

    def join(
        self, block: nn.ResidualBlock, skip: Tensor | None, branch: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        watch = self._seeing()
        return (skip, branch) if watch is None else watch.join(block, skip, branch)


def _chooser(every: Any, steps: Any) -> Callable[[int], bool]:
    """Whether to record a step, by its number."""
    if steps is not None and not _is_count(steps):
        raise UsageError(f"Recorder: steps must be a whole number from 1 on, not {steps!r}.")
    if callable(every):
        return lambda step: bool(every(step))
    if isinstance(every, Iterable) and not isinstance(every, str):
        chosen = set(every)
        if chosen and all(map(_is_count, chosen)):
            return chosen.__contains__
    elif _is_count(every):
        return lambda step: step == 1 or step % every == 0 or step == steps
    raise UsageError(
        f"Recorder: every must be a whole number from 1 on, the numbers of the steps to record, or "
        f"a function of the number, not {every!r}."
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1


def _loss_value(loss: Any) -> float | None:
    """The loss as a number."""
    if loss is None:
        return None
    value = np.asarray(to_numpy(loss._data) if isinstance(loss, Tensor) else loss)
    if value.size != 1 or value.dtype.kind not in "fiu":
        raise ShapeError(
            f"Recorder: the loss of a step must be a single number, not {type(loss).__name__} of "
            f"shape {value.shape}."
        )
    return float(value.reshape(()))
