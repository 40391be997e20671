"""Rules about the gradient: where it is lost, where it is zero, where it is not finite."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from minires.autograd import Leaf, Node, Tensor
from minires.device import to_numpy
from minires.flow.finding import ERROR, INFORMATION, LOSS, WARNING, Finding, Seen, joined, owner
from minires.flow.graph import ancestors, reaches
from minires.flow.watched_pass import Call, is_finite
from minires.models.resnet import AuxiliaryHead

__all__ = ["cut_off", "no_gradient", "not_finite", "zero_gradient"]

_HAND_ON = ("Add", "Sub", "Neg", "Alias", "Reshape", "Permute", "BroadcastTo", "GetItem", "Cat")


def not_finite(seen: Seen) -> Iterator[Finding]:
    """The first layer whose output, and failing that whose gradient, has nan or inf in it."""
    kind = "not finite"
    calls = seen.watch.calls
    if calls and not all(map(is_finite, calls[0].inputs)):
        mend = "Look for missing values, and for a division by zero when it was normalised."
        yield Finding("", kind, ERROR, "the batch itself holds nan or inf", mend)
        return
    bad = next((call for call in seen.watch.done if not call.finite), None)
    if bad is not None:
        given_bad = not all(map(is_finite, bad.inputs))
        place = bad.parent if given_bad and bad.parent is not None else bad
        own = [n for n, p in place.module.named_parameters() if not is_finite(p)]
        names = tuple(joined(place.name, n) for n in own)
        what = f"its output is the first with nan or inf{f'; so has {names[0]}' if names else ''}"
        if given_bad:
            what = f"nan or inf comes up between its layers, before {bad.name or 'its output'}"
        mend = "Lower the learning rate, or load weights from before; look for log, sqrt or /."
        yield Finding(place.name, kind, ERROR, what, mend, names)
    elif seen.value is not None and not is_finite(seen.value):
        mend = "Look for log(0) or 0/0 in the loss; take logits, as F.cross_entropy does."
        yield Finding(LOSS, kind, ERROR, "all outputs are finite, and the loss is not", mend)
    else:
        yield from _bad_gradient(seen)


def _bad_gradient(seen: Seen) -> Iterator[Finding]:
    mend = "Look for sqrt or log at 0, or a norm of zeros, whose slopes are not finite."
    node = seen.graph.first_bad
    if node is not None:
        # It is the first, so what its consumers were given is finite, and what one gave is not.
        # Where there are several, those that only hand gradients on are not to blame.
        consumers: list[Node] = [*reversed(seen.graph.consumers[node])] or [node]
        sources = [c for c in consumers if c.name not in _HAND_ON] or consumers
        names = " or ".join(dict.fromkeys(c.name for c in sources))
        text = f"backward of {names} is the first, from the loss, to give nan or inf"
        yield Finding(seen.layer_of(sources[0]), "not finite", ERROR, text, mend)
        return
    for name, gradient in reversed(seen.gradients.items()):
        if gradient is not None and not np.isfinite(gradient).all():
            text = f"the gradient of {name} has nan or inf in it"
            yield Finding(owner(name), "not finite", ERROR, text, mend, (name,))
            return


def cut_off(seen: Seen) -> Iterator[Finding]:
    """Outputs that depend on parameters in their values, and not in the graph."""
    mend = (
        "Hand the tensor itself on: no detach(), .data, numpy() or no_grad() on the way, "
        "or freeze what comes before it with requires_grad_(False)."
    )
    learning = _learning(seen)
    cut: list[Call] = []
    for call in seen.watch.done:
        before = [t.node for t in call.inputs if t.node in learning]
        trains = any(p.requires_grad for p in call.module.parameters())
        text = ""
        if not call.recording or not (before or trains) or any(call in c.above() for c in cut):
            continue
        if call.gave_array:
            text = "it returns a bare array, which has no history"
        elif call.outputs and not any(t.requires_grad for t in call.outputs if _is_float(t)):
            text = "its output has no history, so no gradient comes back through it"
        elif before and call.outputs and not reaches([t.node for t in call.outputs], before):
            text = "no way in the graph leads from its output back to its input"
        elif inner := _unrecorded(seen, call, learning):
            text = f"it runs {inner.name} with recording switched off"
        if text:
            cut.append(call)
            yield Finding(call.name, "cut off", ERROR, text, mend)
    if seen.value is not None and seen.value.node is None and _ends_well(seen):
        text = "the model's output has a history, and the loss has none"
        yield Finding(LOSS, "cut off", ERROR, text, mend)


def _unrecorded(seen: Seen, call: Call, learning: set[Node]) -> Call | None:
    """A layer that ``call`` ran in no_grad, though there was something to train."""
    for inner in seen.watch.calls:
        if inner.parent is call and not inner.recording:
            trains = any(p.requires_grad for p in inner.module.parameters())
            if trains or any(t.node in learning for t in inner.inputs):
                return inner
    return None


def _ends_well(seen: Seen) -> bool:
    return bool(seen.watch.calls) and any(t.requires_grad for t in seen.watch.calls[0].outputs)


def _learning(seen: Seen) -> set[Node]:
    """The nodes of the whole pass that depend on a parameter that is trained."""
    tensors = [t for call in seen.watch.calls for t in (*call.inputs, *call.outputs)]
    found: set[Node] = {p.node for p in seen.trained().values() if p.node is not None}
    for node in sorted(ancestors(t.node for t in tensors), key=lambda node: node.rank):
        if any(parent in found for parent in node.parents):
            found.add(node)
    return found


def no_gradient(seen: Seen) -> Iterator[Finding]:
    """Parameters that require a gradient and are not in the graph of the loss."""
    if seen.value is None or seen.value.node is None:
        return
    lost = [n for n in seen.trained() if seen.gradients.get(n) is None]
    ran = {call.name for call in seen.watch.calls}
    cuts = [finding.layer for finding in cut_off(seen)]
    for layer in dict.fromkeys(map(owner, lost)):
        names = tuple(name for name in lost if owner(name) == layer)
        severity = ERROR
        if layer in ran:
            text = "it ran, but nothing that it gave reached the loss"
            if cuts:
                text += f" (cut off in {', '.join(c or 'the model itself' for c in cuts[:3])})"
            mend = "Hand its output on to the loss, as a tensor that is part of the graph."
        elif _rests(seen, layer):
            severity, text = INFORMATION, "it did not run in this pass, one in evaluation mode"
            mend = "An auxiliary head runs in training only; look at training mode, too."
        else:
            text, mend = "it did not run in this pass", "Call it in forward, or leave it out."
        yield Finding(layer, "no gradient", severity, text, mend, names)


def _rests(seen: Seen, layer: str) -> bool:
    """Whether it belongs to an auxiliary head in evaluation mode."""
    return any(
        isinstance(module, AuxiliaryHead) and not module.training
        for name, module in seen.model.named_modules()
        if layer == name or layer.startswith(f"{name}.")
    )


def zero_gradient(seen: Seen) -> Iterator[Finding]:
    """Parameters whose gradient is zero to the last bit, grouped by what makes it zero."""
    causes: dict[tuple[str, str, str, str], list[str]] = {}
    for name, parameter in seen.trained().items():
        gradient = seen.gradients.get(name)
        if gradient is not None and parameter.node is not None and not gradient.any():
            causes.setdefault(_cause_of_zero(seen, parameter.node), []).append(name)
    for (layer, severity, text, mend), names in causes.items():
        text += f" ({len(names)} parameter{'s' * (len(names) != 1)} with a gradient of zero)"
        yield Finding(layer, "zero gradient", severity, text, mend, tuple(names))


def _cause_of_zero(seen: Seen, start: Node) -> tuple[str, str, str, str]:
    """Layer, severity, text and mend, from the nearest operation that gets more than it gives."""
    names = {p.node: (n, p) for n, p in seen.model.named_parameters() if p.node is not None}
    node, waiting = start, [start]
    blocked: tuple[Node, Node] | None = None
    tried: set[Node] = set()
    while waiting and blocked is None:
        node = waiting.pop()
        for reader in seen.graph.consumers[node]:
            if reader not in seen.graph.zero:
                blocked = reader, node
            elif reader not in tried:
                tried.add(reader)
                waiting.append(reader)
    if blocked is None:
        text = "the loss sends back nothing but zeros"
        return LOSS, WARNING, text, "A loss at its minimum has no gradient; is the target right?"
    consumer, node = blocked
    layer = seen.layer_of(consumer)
    for weight in map(_leaf, consumer.parents):
        if weight is not start and weight in names:
            name, parameter = names[weight]
            if not name.endswith("bias") and not to_numpy(parameter.data).any():
                text = f"{name} is zero everywhere, so nothing passes back through it yet"
                mend = "Right for a zero-initialised branch: the first step of training ends it."
                return owner(name), INFORMATION, text, mend
    if consumer.name == "ReLU":
        text = "nothing that it gives is positive, so the ReLU behind it passes back zeros"
        mend = "Lower the learning rate or raise its bias: a unit that is always off stays off."
        return seen.layer_of(node), WARNING, text, mend
    if start in map(_leaf, consumer.parents):
        text = "what it is given is zero everywhere, so its weight makes no difference"
        return layer, WARNING, text, "Look at the layer before: is it dead, or multiplied by zero?"
    text = f"{consumer.name} gets a gradient here and passes back zeros"
    return layer, WARNING, text, "Look for a factor of zero, or numbers too small for the dtype."


def _leaf(node: Node | None) -> Node | None:
    """The leaf that ``node`` only shows in another shape, as a linear layer does its weight."""
    while node is not None and node.name in ("Permute", "Reshape", "BroadcastTo", "Cast"):
        node = node.parents[0]
    return node if isinstance(node, Leaf) else None


def _is_float(tensor: Tensor) -> bool:
    return bool(tensor.dtype.kind == "f")
