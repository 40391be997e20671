"""Twins: the same network with its skips scaled, down to none at all."""

from __future__ import annotations

import copy
import math
from numbers import Real
from typing import Any, TypeVar

from minires import nn
from minires.autograd import Tensor
from minires.device import copied
from minires.errors import ContractError, UsageError

__all__ = ["twin"]

M = TypeVar("M", bound=nn.Module)


def twin(model: M, skip_scale: float = 0.0) -> M:
    """A deep copy of ``model`` in which every skip is scaled: 1 = as given, 0 = the skip is gone.

    In each residual block z = a*S(u) + b*F(u) becomes z = ``skip_scale``*a*S(u) + b*F(u).  At 1 the
    twin is the network, bit for bit.  At 0 it gives the outputs and the gradients of the plain
    network of the same layers and weights (:func:`~minires.models.cifar_plain`), if b = 1 and no
    gate stands on the branch.  A shortcut with layers of its own keeps them at 0 too, with
    gradients of zero.  Plain blocks stay as they are.

    At 0 the ``survival_probability`` of the branches becomes 1: where a branch is dropped there
    would be nothing left, z = 0.

    Parameters, buffers, attributes and modes are copied; gradients and hooks are not.  Nothing is
    shared, so that later changes to one do not touch the other.

    Args:
        model: any module with blocks derived from :class:`minires.nn.ResidualBlock`.
        skip_scale: the number that multiplies ``skip_scale`` of every block.

    Returns:
        The copy, of the class of ``model``.  It costs the memory of the parameters and buffers.

    Raises:
        ContractError: ``model`` is none, has no residual block, or has a skip whose scale is
            learned, which training would scale anew.
        UsageError: ``skip_scale`` is not a finite number.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> model = mr.models.cifar_resnet(8, width=4)
    >>> plain = mr.models.cifar_plain(8, width=4)
    >>> _ = plain.load_state_dict(model.state_dict())
    >>> x = mr.randn(2, 3, 8, 8)
    >>> bool((twin(model)(x) == plain(x)).data.all())
    True
    """
    if not isinstance(model, nn.Module):
        raise ContractError(
            f"twin: a {type(model).__name__} is no model. It takes a minires.nn.Module with "
            "blocks derived from minires.nn.ResidualBlock."
        )
    if not isinstance(skip_scale, Real) or not math.isfinite(skip_scale):
        raise UsageError(
            f"twin: skip_scale must be a finite number, got {skip_scale!r}: 1 leaves the skips as "
            "they are, 0 takes them away."
        )
    if not any(isinstance(module, nn.ResidualBlock) for module in model.modules()):
        raise ContractError(
            f"twin: {type(model).__name__} has no residual block, so there is no skip to scale. "
            "Build the model of blocks derived from minires.nn.ResidualBlock."
        )
    made = _copy(model)
    if skip_scale != 1:
        for name, module in made.named_modules():
            if isinstance(module, nn.ResidualBlock) and module.shortcut is not None:
                _scale(name, module, float(skip_scale))
    return made


def _copy(model: M) -> M:
    """A deep copy without gradients and hooks."""
    # What deepcopy is told to have copied already, it does not copy, but puts in its place.
    copies: dict[int, Any] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        own = copies[id(tensor)] = copy.copy(tensor)  # of its class, still on the same array
        own.data, own.grad = copied(tensor.data), None
    for module in model.modules():
        for name in ("forward", "forward_pre", "backward", "backward_pre"):
            copies[id(getattr(module, f"_{name}_hooks"))] = {}
    return copy.deepcopy(model, copies)


def _scale(name: str, block: nn.ResidualBlock, by: float) -> None:
    scale: Any = block.skip_scale
    if isinstance(scale, nn.Parameter) or (isinstance(scale, Tensor) and scale.requires_grad):
        raise ContractError(
            f"twin: the skip_scale of {name or type(block).__name__} is learned (a "
            f"{type(scale).__name__} of shape {scale.shape}), and training would scale the skip "
            "anew. Let shortcut(u) multiply by what is learned, and leave skip_scale a number."
        )
    block.skip_scale = scale * by
    if by == 0:
        block.survival_probability = 1.0
