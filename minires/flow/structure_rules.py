"""Rules about how a model is built: what it keeps, shares and repeats, and the block contract."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from minires import nn
from minires.autograd import Leaf, Node, Tensor
from minires.device import array_module, device_of, to_numpy, using_device_of
from minires.flow.finding import ERROR, INFORMATION, WARNING, Finding, Seen, joined, owner
from minires.flow.gradient_rules import cut_off
from minires.flow.graph import reaches
from minires.flow.watched_pass import Terms

__all__ = [
    "constant_channel",
    "contract",
    "growth",
    "outside_the_list",
    "shared_gradients",
    "shared_memory",
]


def outside_the_list(seen: Seen) -> Iterator[Finding]:
    """Parameters and modules that no optimiser gets to see."""
    for place, kept in seen.outside.items():
        names = [place]
        if isinstance(kept, nn.Module):
            names = [f"{place}.{n}" for n, p in kept.named_parameters() if p.requires_grad]
        if not names:
            continue
        used = any(seen.gradients.get(name) is not None for name in names)
        what = "a tensor" if isinstance(kept, Tensor) else f"a {type(kept).__name__}"
        text = f"{what} is kept in {place}, where parameters() does not look" + (
            ", and the loss depends on it: no optimiser will train it"
            if used
            else "; the loss does not depend on it"
        )
        mend = "Keep modules in nn.ModuleList or nn.Sequential, and tensors as nn.Parameter."
        severity = ERROR if used else INFORMATION
        yield Finding(_holder(seen, place), "not registered", severity, text, mend, tuple(names))


def shared_memory(model: nn.Module) -> list[Finding]:
    """Parameters that share memory, or whose gradients do; a tied one is only mentioned.

    The other rules look at a pass; this one at the arrays of the model as they are before it.
    """
    tensors = dict(model.named_parameters())
    names: dict[int, list[str]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        for name, parameter in module._parameters.items():
            if parameter is not None:
                names.setdefault(id(parameter), []).append(joined(path, name))
    found = [
        Finding(
            owner(own[0]),
            "shared memory",
            INFORMATION,
            f"{own[0]} is also {' and '.join(own[1:])}: one parameter under several names",
            "Right for tied weights: its gradient is the sum over its uses.",
            tuple(own),
        )
        for own in names.values()
        if len(own) > 1
    ]
    arrays = [(name, "values", p.data) for name, p in tensors.items()]
    arrays += [(name, "gradient", p.grad.data) for name, p in tensors.items() if p.grad is not None]
    return found + _overlaps(arrays)


def shared_gradients(seen: Seen) -> Iterator[Finding]:
    """The same of the gradients of the pass; the engine promises that it cannot be."""
    found = seen.gradients.items()
    yield from _overlaps([(name, "gradient", g) for name, g in found if g is not None])


def _overlaps(arrays: Iterable[tuple[str, str, Any]]) -> list[Finding]:
    mend = "Give each its own copy: array.copy(); to tie weights, assign one Parameter twice."
    by_device: dict[str, list[tuple[str, str, Any]]] = {}
    for named in arrays:
        by_device.setdefault(device_of(named[2]), []).append(named)
    return [
        Finding(
            owner(other),
            "shared memory",
            ERROR,
            f"the {other_what} of {other} and the {what} of {name} share memory: a step that "
            "changes one changes both",
            mend,
            tuple(dict.fromkeys((name, other))),
        )
        for pairs in (combinations(there, 2) for there in by_device.values())
        for (name, what, one), (other, other_what, two) in pairs
        if _share_memory(one, two)
    ]


def _share_memory(one: Any, two: Any) -> bool:
    """Whether two arrays of one device do."""
    xp = array_module(one)
    if not xp.may_share_memory(one, two):  # quick, and nearly always the answer
        return False
    with using_device_of(one):
        return bool(xp.shares_memory(one, two))


def growth(seen: Seen) -> Iterator[Finding]:
    """Work that grows faster than the depth: layers called again, blocks that record ever more."""
    kind = "growth"
    calls = [c for c in seen.watch.calls if next(c.module.parameters(), None) is not None]
    same = Counter((c.name, tuple(id(t.data) for t in c.inputs)) for c in calls if c.inputs)
    again = {name for (name, _), count in same.items() if count > 1}
    if again:
        counts = Counter(c.name for c in calls)
        most = max(again, key=lambda name: counts[name])
        steps = " ".join(map(str, sorted({counts[name] for name in counts})))
        text = f"called {counts[most]} times in one pass, again and again on the same input"
        text += f" (calls of a layer: {steps})"
        severity = ERROR if counts[most] > 2 else WARNING
        mend = "Call it once in forward and use its output twice: L levels then cost L, not 2^L."
        yield Finding(most, kind, severity, text, mend)
    for names, sizes in _blocks_by_class(seen):
        rises = all(a < b for a, b in pairwise(sizes))
        if len(sizes) > 3 and rises and sizes[-1] > 1.5 * sizes[0]:
            text = f"blocks record ever more of the graph: {sizes[0]} nodes in {names[0]}, "
            text += f"{sizes[-1]} in {names[-1]}"
            mend = "A block should work on what it is given, not compute earlier layers again."
            yield Finding(names[-1], kind, ERROR, text, mend)
    if any(count > 1 for count in seen.graph.visits.values()):
        text = f"{seen.graph.visits.total()} visits to {len(seen.graph.visits)} nodes in backward"
        yield Finding("", kind, ERROR, text, "Each should be visited once: report this.")


def _blocks_by_class(seen: Seen) -> Iterator[tuple[list[str], list[int]]]:
    """For each class of blocks: their names, and how many nodes each recorded."""
    made: dict[type, tuple[list[str], list[int]]] = {}
    for call in (terms.call for terms in seen.watch.blocks):
        if call is not None and call.last is not None:
            names, sizes = made.setdefault(type(call.module), ([], []))
            names.append(call.name)
            sizes.append(sum(call.first < node.rank < call.last for node in seen.graph.nodes))
    yield from made.values()


def constant_channel(seen: Seen) -> Iterator[Finding]:
    """Batch norm over channels that do not vary."""
    for call in seen.watch.done:
        layer = call.module
        if not isinstance(layer, nn.BatchNorm2d) or not call.inputs:
            continue
        if layer.training or layer.running_var is None:
            x = to_numpy(call.inputs[0].data)  # (N, C, ...)
            others = (0, *range(2, x.ndim))
            low, high = x.min(axis=others), x.max(axis=others)
            constant, zero = low == high, (low == 0.0) & (high == 0.0)
            where = "in this batch"
        else:
            constant = ~(to_numpy(layer.running_var.data) > 0.0)
            zero = np.zeros_like(constant)
            where = "in its running statistics"
        if not constant.any():
            continue
        text = f"{int(constant.sum())} of {len(constant)} channels have no variance {where}"
        mend = "It divides by sqrt(eps) there. Is the layer before dead, or the batch too small?"
        severity = WARNING
        if (constant == zero).all() and _zero_weights(seen.model):
            severity, text = INFORMATION, f"{text}: a zero-initialised branch feeds them"
        yield Finding(call.name, "constant channel", severity, text, mend)


def _zero_weights(model: nn.Module) -> bool:
    return any(
        not to_numpy(p.data).any() for n, p in model.named_parameters() if not n.endswith("bias")
    )


def contract(seen: Seen) -> Iterator[Finding]:
    """Blocks that break u = pre(x), z = skip_scale*shortcut(u) + branch_scale*branch(u)."""
    kind = "block contract"
    changed: set[int] = set()
    for call in seen.watch.done:
        if call.changed_input and not changed & {id(t.data) for t in call.inputs}:
            changed |= {id(t.data) for t in call.inputs}
            text = "it changes what it is given in place, and others read that too"
            yield Finding(call.name, kind, ERROR, text, "Compute a new tensor: x = x + 1.")
    cuts = [finding.layer for finding in cut_off(seen)]
    for terms in seen.watch.blocks:
        name = seen.watch.names.get(id(terms.fork.block), "?")
        if any(cut == name or cut.startswith(f"{name}.") for cut in cuts):
            continue  # said already, and nearer to the place
        for severity, text, mend in _breaches(terms):
            yield Finding(name, kind, severity, text, mend)


def _breaches(terms: Terms) -> Iterator[tuple[str, str, str]]:
    fork, sum_of = terms.fork, [t.node for t in (terms.skip, terms.branch) if t is not None]
    if terms.x.requires_grad and not reaches([terms.u.node], [terms.x.node]):
        yield ERROR, "pre(x) does not depend on x", "Compute u from x alone."
    ways = [("branch", terms.branch, fork.branch)]
    if fork.skip is not None:
        ways.append(("shortcut", terms.skip, fork.skip))
    for way, term, start in ways:
        if term is None or start.node is None:
            continue
        if not reaches([term.node], [start.node]):
            yield ERROR, f"{way}(u) does not depend on u", f"Compute the {way} from u alone."
        if _reads_elsewhere(term.node, start.node, fork.parting.node):
            text = f"{way}(u) reads a tensor from before the fork that is not u"
            mend = "Hand all it needs over in u, or the fork is not where its gradient parts."
            yield WARNING, text, mend
    outputs = [] if terms.call is None else [t.node for t in terms.call.outputs]
    if outputs and any(sum_of) and not reaches(outputs, sum_of):
        yield ERROR, "activation(z) does not depend on z", "Compute the output from z alone."


def _reads_elsewhere(term: Node | None, start: Node, fork: Node | None) -> bool:
    """Whether a way leads from ``term`` to an older operation than the fork, round ``start``."""
    seen: set[Node] = {start}
    stack = [term]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if not isinstance(node, Leaf) and fork is not None and node.rank < fork.rank:
            return True
        stack.extend(node.parents)
    return False


def _holder(seen: Seen, place: str) -> str:
    """The module that keeps something at ``place``: the longest name of a module that leads it."""
    names = [n for n in seen.watch.names.values() if place == n or place.startswith(f"{n}.")]
    return max((n for n in names if n != place), key=len, default="")
