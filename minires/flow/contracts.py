"""Flow contracts: what a gradient needs of a model, checked on one batch, each breach by name."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

import minires.functional as F
from minires import nn
from minires.autograd import Tensor, grad
from minires.device import copied, to_numpy
from minires.errors import ContractError, MiniresError
from minires.flow.finding import ERROR, LOSS, SEVERITIES, Finding, Seen, joined
from minires.flow.gradient_rules import cut_off, no_gradient, not_finite, zero_gradient
from minires.flow.passes import (
    Loss,
    check_given,
    distance,
    keep_branches,
    loss_of,
    mode_of,
)
from minires.flow.structure_rules import (
    constant_channel,
    contract,
    growth,
    outside_the_list,
    shared_gradients,
    shared_memory,
)
from minires.flow.untouched import untouched
from minires.flow.watched_pass import Graph, WatchedPass, kept_outside
from minires.nn.devices import batch_for
from minires.result import Result

__all__ = ["Finding", "ModelCheck", "check_model"]

_RULES: dict[str, Callable[[Seen], Iterator[Finding]]] = {
    "not finite": not_finite,
    "cut off": cut_off,
    "no gradient": no_gradient,
    "zero gradient": zero_gradient,
    "not registered": outside_the_list,
    "growth": growth,
    "constant channel": constant_channel,
    "block contract": contract,
    "shared memory": shared_gradients,
}
_CHECKS = ("stopped", *_RULES)


@dataclass(frozen=True)
class ModelCheck(Result):
    """What :func:`check_model` looked at, and what it found.

    Attributes:
        findings: what is wrong or worth knowing; empty for a sound model.
        model, mode: the class of the model, and 'training', 'evaluation' or 'mixed'.
        loss: of the batch; None if the pass did not come to it.
        layers: name, class and number of calls of each layer and each block, in the order of the
            forward pass; layers that did not run, and the loss, are there if something was found.
        blocks, parameters: how many residual blocks ran, and how many parameters are trained.
        nodes, visits: the operations in the graph of the loss that the gradients go through, and
            how often one was visited on the way back: as often as there are nodes.
        max_error: the largest relative difference between a parameter's gradient in the watched
            pass and in a bare one; None if there were none to compare.
    """

    findings: tuple[Finding, ...]
    model: str
    mode: str
    loss: float | None
    layers: tuple[tuple[str, str, int], ...]
    blocks: int
    parameters: int
    nodes: int
    visits: int
    max_error: float | None

    figure_name = "contracts_figure"

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row a finding, the worst first; details() has what to do about it."""
        return ["severity", "layer", "kind", "what was found"], [
            [f.severity, f.layer or "(the model)", f.kind, f.text] for f in self.findings
        ]

    def details(self) -> list[str]:
        """For each kind of finding what to do about it, once."""
        mends = dict.fromkeys((f.kind, f.mend) for f in self.findings)
        return [f"{kind}: {mend}" for kind, mend in mends]

    def to_dict(self) -> dict[str, Any]:
        """All of it, as plain data, and the names of the checks."""
        return {
            **vars(self),
            "checks": list(_CHECKS),
            "findings": [finding.to_dict() for finding in self.findings],
            "layers": [dict(zip(("name", "kind", "calls"), r, strict=True)) for r in self.layers],
        }

    def caption(self) -> str:
        """What was looked at, how many findings there are, and the first of them."""
        ran = sum(calls > 0 for _, _, calls in self.layers)
        looked = (
            f"{self.model} in {self.mode} mode: {_counted(self.blocks, 'block')}, "
            f"{_counted(ran, 'layer')} and {_counted(self.parameters, 'trained parameter')} "
            f"looked at; {self._passed()}"
        )
        if not self.findings:
            return f"Nothing found. {looked}"
        counts = Counter(finding.severity for finding in self.findings)
        listed = ", ".join(f"{count} {severity}" for severity, count in counts.items())
        first = self.findings[0]
        found = f"{_counted(len(self.findings), 'finding')} ({listed}), first "
        return f"{found}{first.layer or 'the model'}: {first.text.rstrip('?')}. {looked}"

    def _passed(self) -> str:
        if self.max_error is None:
            return "it gave no gradient to compare with that of a separate pass."
        visited = f"{self.visits} visits to {_counted(self.nodes, 'node')} on the way back"
        if not math.isfinite(self.max_error):
            return f"{visited}, and gradients that are not finite could not be compared."
        if self.max_error > 1e-3:
            return (
                f"{visited}, but the gradients differ from those of a separate pass by "
                f"{self.max_error:.0e}: the model does not compute the same twice."
            )
        how = f"within {self.max_error:.0e}" if self.max_error else "to the last bit"
        return f"{visited}, and the gradients equal those of a separate pass {how}."


def check_model(
    model: nn.Module, x: Any, target: Any = None, *, loss: Loss = F.cross_entropy
) -> ModelCheck:
    """Look for what keeps a gradient from a model's parameters, and name the layer.

    One pass forward and backward is watched, with hooks around every module, an observer at every
    fork and a note of what arrives at every node of the graph.  The checks:

    ================  =============================================================================
    stopped           the forward or backward pass ended in an error of the library
    not finite        the first layer whose output, else whose gradient, has nan or inf in it
    cut off           a module whose output has no history, or none that leads to its input, though
                      there are parameters to train in it or before it
    no gradient       parameters that the graph of the loss does not hold
    zero gradient     a gradient of nothing but zeros, and what makes it zero: a zero-initialised
                      weight (information only), a dead ReLU, an input of zeros
    not registered    modules and tensors in plain lists, which no optimiser sees
    growth            layers called again on the same input (a recursive forward costs 2^L); blocks
                      that record ever more nodes; nodes that fire more than once
    constant channel  channels without variance in a batch norm
    block contract    pre, shortcut, branch or activation that does not depend on what it is given,
                      or reads a tensor from before the fork; an input changed in place
    shared memory     parameters, or gradients, that share memory; tied ones are only mentioned
    ================  =============================================================================

    What can be seen in one pass is seen: a unit that is off for this batch alone is no finding, nor
    is a branch that this batch does not take.

    It costs two passes forward and backward (the second one bare, for the check that watching
    changed nothing), one more look at the inputs and outputs of every layer and at every gradient,
    and the memory of one training step.  It leaves no trace on the model, nor on what the model
    keeps in lists.

    Args:
        model: any module, with or without residual blocks.
        x: a batch, tensor or array (N, ...).
        target: what the loss compares with, tensor or array.
        loss: ``loss(output, target)``, a single number.

    Returns:
        A :class:`ModelCheck` with a :class:`Finding` for each defect.  A model that fails half-way,
        in a block or behind its first layer, is reported too, as stopped.

    Raises:
        ContractError: the model is none, the target is missing, or the loss is no tensor.
        ShapeError, DTypeError: the batch does not fit the first layer or the loss, or the loss is
            not a single number.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> batch = mr.randn(5, 1, 2, 2), mr.tensor([0, 1, 0, 1, 0])
    >>> check_model(model, *batch).findings
    ()
    >>> _ = nn.init.zeros_(model[3].weight)
    >>> [(found.layer, found.kind) for found in check_model(model, *batch).findings]
    [('3', 'zero gradient')]
    """
    check_given("check_model", model, target)
    x, target = batch_for(model, x, target)
    outside = kept_outside(model)
    modules = {"": model, **{n: kept for n, kept in outside.items() if isinstance(kept, nn.Module)}}
    trained = {name: t for name, t in _tensors(model, outside) if t.requires_grad}
    findings = shared_memory(model)

    with _all_untouched(modules.values()):
        watch = WatchedPass(_names(modules))
        watch.hook({id(m): m for kept in modules.values() for m in kept.modules()}.values())
        value, stops = _run(model, x, target, loss, watch)
        graph = Graph(value)
        graph.listen()
        gradients, stops_back = _gradients(value, trained, graph, watch)
        stops += stops_back
        seen = Seen(model, outside, watch, graph, value, gradients)
        findings += [*stops, *(found for rule in _RULES.values() for found in rule(seen))]
    findings.sort(key=lambda found: SEVERITIES.index(found.severity))

    max_error = None
    if not stops and any(gradient is not None for gradient in gradients.values()):
        with _all_untouched(modules.values()):
            bare = Graph(_loss(model, x, target, loss, nn.Observer()))
            max_error = _largest_difference(gradients, _gradients(bare.value, trained, bare)[0])
    return ModelCheck(
        findings=tuple(findings),
        model=type(model).__name__,
        mode=mode_of(model),
        loss=None if value is None else float(value.item()),
        layers=tuple(_layers(watch, findings)),
        blocks=len(watch.blocks),
        parameters=len(seen.trained()),
        nodes=len(graph.visits),
        visits=graph.visits.total(),
        max_error=max_error,
    )


def _loss(model: nn.Module, x: Tensor, target: Tensor, loss: Loss, observer: nn.Observer) -> Tensor:
    own = Tensor(copied(x.data))  # a model that changes its input must not change the batch
    return loss_of("check_model", model, own, target, loss, observer)


@contextmanager
def _all_untouched(modules: Iterable[nn.Module]) -> Iterator[None]:
    """No trace on any of them, and no warnings of NumPy about what the rules report.

    Stochastic depth drops nothing inside: a branch that is left out this once is no mistake, and
    all of them are to be looked at.  In evaluation mode it drops nothing anyway.
    """
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(untouched(module))
            keep_branches(module)
        stack.enter_context(np.errstate(all="ignore"))
        yield


def _run(
    model: nn.Module, x: Tensor, target: Tensor, loss: Loss, watch: WatchedPass
) -> tuple[Tensor | None, list[Finding]]:
    """The loss, or where the model stopped on its way there."""
    try:
        return _loss(model, x, target, loss, watch), []
    except (MiniresError, NotImplementedError, ValueError) as error:
        of_the_model = bool(watch.running) and (
            bool(watch.done)
            if isinstance(error, MiniresError) and not isinstance(error, ContractError)
            else isinstance(error, ContractError | NotImplementedError) or "read-only" in str(error)
        )
        if not of_the_model:  # the batch does not fit, or the loss is none
            raise
        return None, [_stopped(watch.running[-1].name, "forward", error.__cause__ or error)]


def _gradients(
    value: Tensor | None, trained: dict[str, Tensor], graph: Graph, watch: WatchedPass | None = None
) -> tuple[dict[str, np.ndarray | None], list[Finding]]:
    """The gradient of each parameter; None where the loss does not depend on it."""
    nothing: dict[str, np.ndarray | None] = dict.fromkeys(trained)
    if value is None or value.node is None or not trained:
        return nothing, []
    try:
        found = grad(value, list(trained.values()), allow_unused=True)
    except MiniresError as error:
        name = None if watch is None or graph.latest is None else watch.layer_of(graph.latest)
        return nothing, [_stopped(LOSS if name is None else name, "backward", error)]
    arrays = [None if g is None else to_numpy(g.data) for g in found]
    return dict(zip(trained, arrays, strict=True)), []


def _stopped(layer: str, way: str, error: BaseException) -> Finding:
    text = f"the {way} pass ended here: {str(error).splitlines()[0].rstrip('.')}"
    return Finding(layer, "stopped", ERROR, text, "Mend this first: the rest was not looked at.")


def _largest_difference(
    watched: dict[str, np.ndarray | None], bare: dict[str, np.ndarray | None]
) -> float:
    """The largest relative distance; nan if one of them is nan, inf if one pass has more."""
    errors = [0.0]
    for name, one in watched.items():
        other = bare[name]
        if one is not None and other is not None:
            errors.append(distance(one, other))
        elif one is not other:
            errors.append(math.inf)
    return float(np.max(errors))


def _tensors(
    model: nn.Module, outside: dict[str, nn.Module | Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """All that could be trained, by name, also what is kept outside the list of parameters."""
    yield from model.named_parameters()
    for place, kept in outside.items():
        if isinstance(kept, Tensor):
            yield place, kept
        else:
            yield from ((joined(place, name), p) for name, p in kept.named_parameters())


def _names(modules: dict[str, nn.Module]) -> dict[int, str]:
    names: dict[int, str] = {}
    for place, kept in modules.items():
        for name, module in kept.named_modules(place):
            names.setdefault(id(module), name)
    return names


def _layers(watch: WatchedPass, findings: Sequence[Finding]) -> Iterator[tuple[str, str, int]]:
    """Layers that hold no others, blocks, and whatever has a finding."""
    calls = Counter(call.name for call in watch.calls)
    kinds = {call.name: type(call.module).__name__ for call in watch.calls}
    holders = {call.parent.name for call in watch.calls if call.parent is not None}
    blocks = {watch.names.get(id(terms.fork.block)) for terms in watch.blocks}
    named = dict.fromkeys(finding.layer for finding in findings)
    for name, kind in kinds.items():
        if name not in holders or name in blocks or name in named:
            yield name, kind, calls[name]
    for name in sorted(set(named) - set(kinds), key=lambda name: (name == LOSS, name)):
        yield name, "loss" if name == LOSS else "not run", 0


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
