"""The training loop, and a run of it that can be left and gone on with."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import minires.functional as F
from minires import nn, rng
from minires.autograd import Tensor
from minires.data import DataLoader
from minires.device import to_numpy
from minires.errors import StateError, UsageError
from minires.kernels.parallel import one_blas_thread
from minires.optim import Optimizer
from minires.optim.lr_scheduler import LRScheduler
from minires.saving.weights import WEIGHTS, weights_of
from minires.train.history import History, Step
from minires.train.metrics import Evaluation, evaluate, loss_and_errors

__all__ = ["STOP", "Training", "fit"]

Loss = Callable[[Tensor, Tensor], Tensor]
STOP = "stop"  # what a function that is called on the way returns to end the training there
OnStep = Callable[[Step], Any]
OnEpoch = Callable[[History], Any]
_OPTIMIZER = "optimizer/"


class Training:
    """A run of training: what it moves, where it is, and all that is needed to go on with it.

    Args:
        model: gives logits (N, classes) for images (N, C, H, W).
        loader: the batches.
        optimizer: over the parameters of the model.
        scheduler: stepped after each epoch, or after each step if ``step_schedule``.
        loss: ``loss(output, target)``, a single number, a mean over the batch; auxiliary outputs
            are added by :func:`minires.nn.total_loss`.
        evaluate_on: name -> (images, labels), evaluated after an epoch in evaluation mode.
        evaluate_every: after every so many epochs, and after the last.

    Attributes:
        history: of the epochs that are finished.
        step: steps so far.
        last_loss: of the last batch; 0 before the first.

    >>> import minires as mr
    >>> def begin():
    ...     _ = mr.manual_seed(0)
    ...     model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    ...     loader = DataLoader(mr.data.load_digits().test, 120, shuffle=True, seed=0)
    ...     return Training(model, loader, mr.optim.SGD(model.parameters(), lr=0.1))
    >>> whole, first, second = begin(), begin(), begin()
    >>> def stop_at_4(step):
    ...     return STOP if step.number == 4 else None
    >>> _, _ = whole.run(epochs=2), first.run(epochs=2, on_step=stop_at_4)
    >>> second.load_state_dict(first.state_dict())  # in the middle of the second epoch
    >>> second.run(epochs=2).batch_loss == whole.history.batch_loss
    True
    """

    def __init__(
        self,
        model: nn.Module,
        loader: DataLoader,
        optimizer: Optimizer,
        scheduler: LRScheduler | None = None,
        *,
        step_schedule: bool = False,
        loss: Loss = F.cross_entropy,
        evaluate_on: Mapping[str, tuple[Any, Any]] | None = None,
        evaluate_every: int = 1,
    ):
        if evaluate_every < 1:
            raise UsageError(f"Training: evaluate_every must be at least 1, got {evaluate_every}.")
        self.model, self.loader, self.optimizer = model, loader, optimizer
        self.scheduler, self.step_schedule = scheduler, step_schedule
        self.loss = loss
        self.evaluate_on, self.evaluate_every = dict(evaluate_on or {}), evaluate_every
        self.history = History()
        self.step = 0
        self.last_loss = 0.0
        self._epoch = _Epoch()

    def run(
        self,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        on_step: OnStep | Sequence[OnStep] = (),
        on_epoch: OnEpoch | Sequence[OnEpoch] = (),
    ) -> History:
        """Train until so many epochs or steps are done, counted from the beginning of the run.

        Args:
            epochs, steps: one of them; so many steps may end in the middle of an epoch, which then
                is the last one.
            on_step, on_epoch: a function, or several, called after each step and each epoch.  If
                one of them returns ``train.STOP``, training stops there, also in the middle of an
                epoch, and can be gone on with.

        Returns:
            The :class:`History` of the whole run.
        """
        last = self._last_step(epochs, steps)
        on_step, on_epoch = _listed(on_step), _listed(on_epoch)
        while self.step < last or self._epoch.steps:
            if not self._one_epoch(last, on_step):
                break
            self._end_epoch(last)
            if _told_to_stop([tell(self.history) for tell in on_epoch]):
                break
        return self.history

    def _last_step(self, epochs: int | None, steps: int | None) -> int:
        for name, value in (("epochs", epochs), ("steps", steps)):
            if value is not None and value < 1:
                raise UsageError(f"fit: {name} must be at least 1, got {value}.")
        if (epochs is None) == (steps is None):
            raise UsageError("fit: give epochs or steps, one of them.")
        cut = bool(self.history.step) and self.history.step[-1] % len(self.loader) != 0
        if cut and steps != self.step:  # nothing is left to do where the same length is told again
            raise UsageError(
                f"fit: this run ended after {self.step} steps, in the middle of an epoch, and "
                "cannot go further. Begin another one with its model and optimizer."
            )
        return steps if epochs is None else epochs * len(self.loader)  # type: ignore[return-value]

    def _one_epoch(self, last: int, on_step: Sequence[OnStep]) -> bool:
        """The rest of the epoch; whether it came to its end."""
        now = self._epoch
        if now.loader:  # it was left in the middle
            self.loader.load_state_dict(now.loader)
        self.model.train()
        now.lr = now.lr if now.steps else float(self.optimizer.param_groups[0]["lr"])
        if self.step >= last and now.steps < len(self.loader):  # left before it was evaluated
            return True
        started = time.perf_counter()
        for x, y in self.loader:
            batch_loss, wrong = self._one_step(x, y)
            self.step += 1
            self.last_loss = batch_loss
            now.add(batch_loss, wrong, len(y))
            now.loader = self.loader.state_dict()
            now.seconds += time.perf_counter() - started
            told = Step(
                epoch=len(self.history.epoch) + 1,
                step=now.steps,
                steps=len(self.loader),
                images=now.images,
                loss=now.total / now.images,
                error=100.0 * now.wrong / now.images,
                batch_loss=batch_loss,
                number=self.step,
            )
            if _told_to_stop([tell(told) for tell in on_step]):
                return False
            if self.step >= last and now.steps < len(self.loader):
                break
            started = time.perf_counter()
        return True

    def _one_step(self, x: Tensor, y: Tensor) -> tuple[float, int]:
        """Forward, backward, step; the loss, and how many rows of the main output are wrong.

        On a GPU the batch has come in one copy and both numbers leave in one.
        """
        with one_blas_thread():  # once around the step, not once around every product
            self.optimizer.zero_grad()
            output = self.model(x)
            value = nn.total_loss(self.loss, output, y)
            value.backward()
            self.optimizer.step()
        if self.scheduler is not None and self.step_schedule:
            self.scheduler.step()
        return loss_and_errors(value, nn.main_output(output), y)

    def _end_epoch(self, last: int) -> None:
        epoch, now = len(self.history.epoch) + 1, self._epoch
        found = {}
        due = epoch % self.evaluate_every == 0 or self.step >= last
        for name, arrays in self.evaluate_on.items():
            nothing = Evaluation(math.nan, math.nan)
            found[name] = evaluate(self.model, arrays, loss=self.loss) if due else nothing
        self.history.epoch.append(epoch)
        self.history.step.append(self.step)
        self.history.lr.append(now.lr)
        self.history.batch_loss.append(now.total / now.images)
        self.history.batch_error.append(100.0 * now.wrong / now.images)
        self.history.seconds.append(now.seconds)
        for name, evaluation in found.items():
            self.history.loss.setdefault(name, []).append(evaluation.loss)
            self.history.error.setdefault(name, []).append(evaluation.error)
        if self.scheduler is not None and not self.step_schedule:
            self.scheduler.step()
        self._epoch = _Epoch()

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that the run depends on, between two steps.

        Returns:
            ``arrays`` of NumPy, by name: ``weights/<name>`` of parameters and buffers, and
            ``optimizer/<number of the parameter>/<name>``; and ``plain``, which JSON can hold: the
            settings of the optimiser, the schedule, the position in the epoch, the states of the
            generators (of the order of the images and of all else), and the history.
        """
        optimizer = self.optimizer.state_dict()
        arrays = {WEIGHTS + name: array for name, array in self.model.state_dict().items()}
        numbers: dict[str, dict[str, Any]] = {}
        for i, values in optimizer["state"].items():
            for name, value in values.items():
                if hasattr(value, "dtype"):
                    arrays[f"{_OPTIMIZER}{i}/{name}"] = value
                else:
                    numbers.setdefault(str(i), {})[name] = value
        plain = {
            "step": self.step,
            "epoch": asdict(self._epoch),
            "history": asdict(self.history),
            "loader": self._epoch.loader or self.loader.state_dict(),
            "optimizer": {"param_groups": optimizer["param_groups"], "state": numbers},
            "scheduler": None if self.scheduler is None else self.scheduler.state_dict(),
            "generator": rng.get_state(),
        }
        return {"arrays": {name: to_numpy(a) for name, a in arrays.items()}, "plain": plain}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict` of a run that was made in the same way, on any device.

        The default generator is set too, so that dropout goes on with the same bits.

        Raises:
            StateError, UsageError: it is the state of a run of something else; the message says
                what does not fit.  What was loaded before that stays loaded.
        """
        try:
            arrays, plain = state["arrays"], copy.deepcopy(state["plain"])
            epoch, history = _made(_Epoch, plain["epoch"]), _made(History, plain["history"])
            step, loader, scheduler = plain["step"], plain["loader"], plain["scheduler"]
            optimizer = _optimizer_state(arrays, plain["optimizer"])
            generator = plain["generator"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise StateError(f"Training: this is no state of a run ({error!r}).") from None
        if (scheduler is None) != (self.scheduler is None):
            raise StateError("Training: one of the two runs has a schedule, and the other has not.")
        self.optimizer.load_state_dict(optimizer)
        if self.scheduler is not None:
            self.scheduler.load_state_dict(scheduler)
        self.loader.load_state_dict(loader)
        self.model.load_state_dict(weights_of(arrays))
        try:
            rng.set_state(generator)
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(f"Training: no state of a generator ({error!r}).") from None
        self.step, self._epoch, self.history = step, epoch, history


@dataclass
class _Epoch:
    """Sums over the batches of the epoch that is going on."""

    steps: int = 0
    total: float = 0.0
    wrong: int = 0
    images: int = 0
    seconds: float = 0.0
    lr: float = 0.0
    loader: dict[str, Any] | None = None  # its state after the last batch

    def add(self, loss: float, wrong: int, images: int) -> None:
        self.steps += 1
        self.total += loss * images
        self.wrong += wrong
        self.images += images


def fit(
    model: nn.Module,
    loader: DataLoader,
    optimizer: Optimizer,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    scheduler: LRScheduler | None = None,
    step_schedule: bool = False,
    loss: Loss = F.cross_entropy,
    evaluate_on: Mapping[str, tuple[Any, Any]] | None = None,
    evaluate_every: int = 1,
    on_step: OnStep | Sequence[OnStep] = (),
    on_epoch: OnEpoch | Sequence[OnEpoch] = (),
) -> History:
    """Train ``model``: for each epoch, for each batch, forward, backward, step.

    See :class:`Training` for the arguments, and :meth:`Training.run` for ``epochs``, ``steps`` and
    the functions that are called on the way, such as a :class:`minires.flow.Recorder`.

    Returns:
        The :class:`History`.

    >>> import minires as mr
    >>> data = mr.data.load_digits()
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(8, width=4, in_channels=1)
    >>> loader = mr.data.DataLoader(data.train, batch_size=128, shuffle=True, seed=0)
    >>> history = fit(model, loader, mr.optim.SGD(model.parameters(), lr=0.1), epochs=2)
    >>> history.batch_loss[1] < history.batch_loss[0]
    True
    """
    training = Training(
        model,
        loader,
        optimizer,
        scheduler,
        step_schedule=step_schedule,
        loss=loss,
        evaluate_on=evaluate_on,
        evaluate_every=evaluate_every,
    )
    return training.run(epochs=epochs, steps=steps, on_step=on_step, on_epoch=on_epoch)


def _told_to_stop(answers: list[Any]) -> bool:
    return any(isinstance(answer, str) and answer == STOP for answer in answers)


def _listed(functions: Any) -> list[Any]:
    return [functions] if callable(functions) else list(functions)


def _made(kind: Any, values: Mapping[str, Any]) -> Any:
    names = {entry.name for entry in fields(kind)}
    if values.keys() != names:
        raise ValueError(f"{kind.__name__} has {sorted(names)}, not {sorted(values)}")
    return kind(**values)


def _optimizer_state(arrays: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    """What :meth:`Optimizer.load_state_dict` takes."""
    state: dict[int, dict[str, Any]] = {int(i): dict(v) for i, v in plain["state"].items()}
    for name, array in arrays.items():
        if name.startswith(_OPTIMIZER):
            i, entry = name.removeprefix(_OPTIMIZER).split("/")
            state.setdefault(int(i), {})[entry] = array
    return {"state": state, "param_groups": plain["param_groups"]}
