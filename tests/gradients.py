"""Gradients held against central differences, in float64, with a random cotangent.

A cotangent of ones, or ``.sum()``, is blind: the gradient of the sum of a softmax or of a
normalised batch is zero, so a backward method that returns zeros would pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import minires as mr

__all__ = ["check_gradients", "check_second"]

Arrays = list[np.ndarray]


def check_gradients(
    fn: Callable[..., mr.Tensor],
    inputs: Sequence[Any],
    *,
    eps: float = 1e-6,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    seed: int = 0,
) -> None:
    """Assert that ``fn(*inputs).backward(cotangent)`` gives the gradients of ``fn``.

    Args:
        fn: takes tensors, one for each of ``inputs``, and returns one tensor.
        inputs: arrays, away from kinks; they are copied, as float64.
        eps: step of the central differences.
        rtol, atol: what the two may differ by, element by element.
        seed: of the cotangent.
    """
    arrays = _copies(inputs)
    leaves = _leaves(arrays)
    out = fn(*leaves)
    assert out.dtype == np.float64, f"the output is {out.dtype}, so differences would be useless"
    cotangent = _normal(out, np.random.default_rng(seed))
    out.backward(mr.tensor(cotangent))

    def values() -> Arrays:
        with mr.no_grad():
            return [fn(*map(mr.tensor, arrays)).data]

    _compare([leaf.grad for leaf in leaves], values, arrays, [cotangent], eps, rtol, atol)


def check_second(
    fn: Callable[..., mr.Tensor],
    inputs: Sequence[Any],
    *,
    eps: float = 1e-6,
    rtol: float = 1e-6,
    atol: float = 1e-9,
    seed: int = 0,
) -> None:
    """Assert that the gradients of ``fn``, recorded by ``create_graph``, have the right gradients.

    The gradients are projected on random numbers, and the projection is differentiated by every
    input and by the cotangent.  The differences are those of gradients from an ordinary backward
    pass, so the two ways of running a backward method are held together too.
    """
    rng = np.random.default_rng(seed)
    arrays = _copies(inputs)
    with mr.no_grad():
        arrays.append(_normal(fn(*map(mr.tensor, arrays)), rng))  # the cotangent comes last
    directions = [_normal(array, rng) for array in arrays[:-1]]

    def gradients(leaves: Sequence[mr.Tensor], create_graph: bool) -> list[mr.Tensor]:
        *xs, cotangent = leaves
        found = mr.grad(
            fn(*xs), xs, grad_outputs=cotangent, create_graph=create_graph, allow_unused=True
        )
        pairs = zip(xs, found, strict=True)
        return [mr.tensor(np.zeros(x.shape)) if g is None else g for x, g in pairs]

    leaves = _leaves(arrays)
    projection = mr.tensor(np.zeros(()))
    for gradient, direction in zip(gradients(leaves, True), directions, strict=True):
        projection = projection + (gradient * direction).sum()
    projection.backward()

    def values() -> Arrays:
        return [gradient.data for gradient in gradients(_leaves(arrays), False)]

    _compare([leaf.grad for leaf in leaves], values, arrays, directions, eps, rtol, atol)


def _copies(inputs: Sequence[Any]) -> Arrays:
    return [np.array(x.data if isinstance(x, mr.Tensor) else x, dtype=np.float64) for x in inputs]


def _leaves(arrays: Arrays) -> list[mr.Tensor]:
    return [mr.tensor(array, requires_grad=True) for array in arrays]


def _normal(like: Any, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(rng.standard_normal(like.shape))


def _compare(
    grads: Sequence[mr.Tensor | None],
    values: Callable[[], Arrays],
    arrays: Arrays,
    cotangents: Arrays,
    eps: float,
    rtol: float,
    atol: float,
) -> None:
    """Hold each gradient against the differences of <values, cotangents>."""
    for i, (grad, array) in enumerate(zip(grads, arrays, strict=True)):
        expected = _central_differences(values, array, cotangents, eps)
        assert np.isfinite(expected).all(), f"input {i}: the differences are not finite"
        found = np.zeros_like(array) if grad is None else grad.data
        assert (found.shape, found.dtype) == (array.shape, array.dtype), f"input {i}"
        np.testing.assert_allclose(
            found, expected, rtol, atol, equal_nan=False, err_msg=f"gradient by input {i}"
        )


def _central_differences(
    values: Callable[[], Arrays], array: np.ndarray, cotangents: Arrays, eps: float
) -> np.ndarray:
    """d <values, cotangents> / d array; ``values`` reads the array, which is changed and put back.

    What an element does not reach cancels exactly, since differences come before the product.
    """
    slope = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        kept = array[place]
        array[place] = kept + eps
        step, above = array[place], values()
        array[place] = kept - eps
        step, below = step - array[place], values()  # 2 eps as it was rounded
        array[place] = kept
        for a, b, cotangent in zip(above, below, cotangents, strict=True):
            slope[place] += ((a - b) * cotangent).sum() / step
    return slope
