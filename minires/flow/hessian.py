"""The sharpest curvature of the loss: the outermost eigenvalue of its Hessian.

The Hessian of a network has as many rows as the network has parameters, so it is never written
down.  Its product with a vector is a derivative of a derivative (Pearlmutter 1994),

    H v = d <dLoss/dw, v> / dw,

and Lanczos finds the outermost eigenvalue from a few dozen products.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import minires.functional as F
from minires import nn
from minires.autograd import Tensor, grad
from minires.device import Array, array_like, to_numpy
from minires.errors import ContractError, UsageError
from minires.flow.lanczos import lanczos
from minires.flow.passes import Loss, check_given, finite, loss_of, mode_of, norm
from minires.flow.untouched import untouched
from minires.kernels.checks import number, whole
from minires.nn.devices import batch_for
from minires.result import Result

__all__ = ["HessianEigenvalue", "hessian_eigenvalue"]


@dataclass(frozen=True)
class HessianEigenvalue(Result):
    """What :func:`hessian_eigenvalue` found.

    Attributes:
        value: the eigenvalue of largest magnitude.
        residual: |H v - value*v| / |value|, with |v| = 1, from a product made for it: the check.
            Some eigenvalue lies within that share of ``value``.
        converged: whether the residual is at most the tolerance.
        products: Hessian-vector products that were made, the one of the check included.
        parameters: how many numbers the Hessian is by: its size.
        loss: of the batch.
        mode: 'training', 'evaluation' or 'mixed'.
        history: after each product the value so far, and its residual as Lanczos estimates it.
        vector: (parameters,), the eigenvector v, in the order of ``model.parameters()``.
    """

    value: float
    residual: float
    converged: bool
    products: int
    parameters: int
    loss: float
    mode: str
    history: tuple[tuple[float, float], ...]
    vector: np.ndarray = field(repr=False)

    figure_name = "hessian_figure"

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """One row a product."""
        steps = [[k, *pair] for k, pair in enumerate(self.history, 1)]
        return ["product", "eigenvalue", "residual"], steps

    def to_dict(self) -> dict[str, Any]:
        """All but the vector."""
        found = {k: v for k, v in vars(self).items() if k not in ("vector", "history")}
        found |= {k: finite(found[k]) for k in ("value", "residual", "loss")}
        history = [[finite(entry) for entry in pair] for pair in self.history]
        return {**found, "history": history, "caption": self.caption()}

    def caption(self) -> str:
        """The value, and how far it can be trusted."""
        if not math.isfinite(self.value):
            return "A product with the Hessian is not finite: its eigenvalue is not known."
        if not self.value:
            return "The Hessian is zero: the loss is flat, or straight, in all parameters."
        kind = "upward" if self.value > 0 else "downward"
        text = (
            f"Of the {self.parameters} x {self.parameters} Hessian of the loss ({self.loss:.3g}, "
            f"{self.mode} mode) the eigenvalue of largest magnitude is {self.value:.4g}: along it "
            f"the loss is curved {kind}; {self.products} products, "
            f"residual {self.residual:.0e} of its size"
        )
        return (
            f"{text}." if self.converged else f"{text}, which is not converged: give it more steps."
        )


def hessian_eigenvalue(
    model: nn.Module,
    x: Any,
    target: Any = None,
    *,
    steps: int = 40,
    tolerance: float = 1e-3,
    seed: int = 0,
    loss: Loss = F.cross_entropy,
) -> HessianEigenvalue:
    """The eigenvalue of largest magnitude of the Hessian of the loss by all parameters.

    It is taken in the mode the model is in (batch norm in training mode: of the whole batch).  A
    large value means a sharp ravine: gradient descent with step lr leaves it if lr * value > 2.
    With ReLU the Hessian is that between the kinks.

    Lanczos (:func:`minires.flow.lanczos.lanczos`) needs far fewer products than power iteration.
    Each costs about two backward passes; memory for the graph of a backward pass, and for
    steps * parameters numbers of 8 bytes.

    The check is the residual |H v - value*v| / |value| from one more product.

    Args:
        model: any module with parameters that require grad; by those the Hessian is.
        x: a batch, tensor or array (N, ...).
        target: what the loss compares with.
        steps: at most so many products, and one for the check.
        tolerance: relative residual at which to stop; float32 gets to about 1e-5.
        seed: of the first vector.
        loss: ``loss(output, target)``, a single number.

    Returns:
        A :class:`HessianEigenvalue`; magnitude decides, so ``value`` may be negative.

    Raises:
        ContractError: the model is none or has no parameter that requires grad, the target is
            missing, or the loss is no tensor.
        ShapeError: the loss is not a single number.
        UsageError: steps below 1 or a negative tolerance.

    >>> import minires as mr
    >>> _ = mr.manual_seed(0)
    >>> found = hessian_eigenvalue(nn.Linear(3, 2), mr.randn(8, 3), mr.tensor([0, 1] * 4))
    >>> found.parameters, found.value > 0, found.converged
    (8, True, True)
    """
    check_given("hessian_eigenvalue", model, target)
    tolerance = number(tolerance, "hessian_eigenvalue: tolerance")
    if whole(steps, "hessian_eigenvalue: steps") < 1 or not tolerance >= 0.0:
        raise UsageError(
            f"hessian_eigenvalue: steps={steps} and tolerance={tolerance}; it needs at least one "
            "step, and a tolerance that is not negative."
        )
    draw = np.random.default_rng(whole(seed, "hessian_eigenvalue: seed"))
    x, target = batch_for(model, x, target)
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ContractError(
            f"hessian_eigenvalue: no parameter of {type(model).__name__} requires grad, so there "
            "is nothing to differentiate by."
        )
    size = sum(p.numel() for p in parameters)
    with untouched(model):
        value = loss_of("hessian_eigenvalue", model, x, target, loss, nn.Observer())
        slopes = grad(value, parameters, create_graph=True, allow_unused=True)

        def product(v: np.ndarray) -> np.ndarray:  # (1, size), as Lanczos does several at once
            return _times(slopes, parameters, v[0])[None]

        found = lanczos(product, (1, size), draw, steps=steps, tolerance=tolerance)
        top, v = float(found.values[0, 0]), found.vectors[0, 0]
        off = norm(product(v[None])[0] - top * v)
    residual = off / abs(top) if top else off
    return HessianEigenvalue(
        value=top,
        residual=residual,
        converged=residual <= tolerance,
        products=found.steps + 1,
        parameters=size,
        loss=float(value.item()),
        mode=mode_of(model),
        history=tuple((float(value), float(rest)) for value, rest in found.history[:, 0]),
        vector=v,
    )


def _times(
    slopes: Sequence[Tensor | None], parameters: Sequence[Tensor], v: np.ndarray
) -> np.ndarray:
    """H v: the derivative of <slopes, v> by the parameters; the graph is kept."""
    ends = np.cumsum([p.numel() for p in parameters])
    pieces = np.split(v, ends[:-1])
    # A slope that is the same everywhere has no history, and adds nothing.
    bent = [
        (g, piece)
        for g, piece in zip(slopes, pieces, strict=True)
        if g is not None and g.requires_grad
    ]
    found: Sequence[Tensor | None] = [None] * len(parameters)
    if bent:
        given = [_like(piece, g) for g, piece in bent]
        found = grad([g for g, _ in bent], parameters, given, retain_graph=True, allow_unused=True)
    return np.concatenate(
        [
            np.zeros(p.numel()) if g is None else to_numpy(g._data).ravel()
            for p, g in zip(parameters, found, strict=True)
        ]
    )


def _like(values: np.ndarray, tensor: Tensor) -> Array:
    """``values`` in the shape, type and place of a tensor."""
    return array_like(values.reshape(tensor.shape), tensor._data, tensor.dtype)
