"""The instruments as an experiment runs them: on a batch, with settings that suit any network."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from minires import flow, nn
from minires.autograd import Tensor
from minires.data import Dataset
from minires.result import Result

__all__ = ["INSTRUMENTS", "NEED_SKIPS", "Batch"]


class Batch(NamedTuple):
    """What the instruments look at: a batch, where the network is, and the data it is from."""

    x: Tensor
    y: Tensor
    dataset: Dataset
    lr: float


Instrument = Callable[[nn.Module, Batch], Result]

INSTRUMENTS: dict[str, Instrument] = {
    "ledger": lambda model, b: flow.ledger(model, b.x, b.y),
    "spectrum": lambda model, b: flow.path_spectrum(model, b.x, b.y),
    "paths": lambda model, b: flow.sample_paths(model, b.x, b.y, samples=5),
    "signal": lambda model, b: flow.signal(model, b.x, b.y, lr=b.lr),
    "backward_lesion": lambda model, b: flow.backward_lesion(model, b.x, b.y),
    "forward_lesion": lambda model, b: flow.forward_lesion(model, b.dataset.test),
    "dial": lambda model, b: flow.dial(model, b.dataset.batch(len(b.x))),
    "jacobian": lambda model, b: flow.jacobian_lens(model, b.x[:2], method="lanczos"),
    "shattering": lambda model, b: flow.shattering(model, b.x),
    "landscape": lambda model, b: flow.landscape(model, b.x, b.y),
    "contracts": lambda model, b: flow.check_model(model, b.x, b.y),
}

NEED_SKIPS = ("backward_lesion", "dial")  # they change the skips, so a plain network has nothing
