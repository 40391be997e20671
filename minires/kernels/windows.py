"""Windows that move along an axis, one tap at a time: what every pooling is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from minires.device import Array, array_module
from minires.kernels.geometry import PoolGeometry

__all__ = ["COLS", "ROWS", "Tap", "at", "fold", "spread", "taps_along"]

ROWS, COLS = 2, 3  # the axes of (N, C, H, W) that a window moves along


class Tap(NamedTuple):
    """One place of the window along one axis: ``out[put]`` are the outputs that see ``x[take]``."""

    number: int
    put: slice
    take: slice


def taps_along(window: PoolGeometry, x_shape: tuple[int, ...], axis: int) -> list[Tap]:
    """The taps along an axis, each with the outputs for which it lies inside the image."""
    K, S, P, D, OUT = (setting[axis - ROWS] for setting in window)
    taps = []
    for k in range(K):
        offset = k * D - P  # output o sees place o*S + offset
        first = max(0, -(offset // S))
        last = min(OUT - 1, (x_shape[axis] - 1 - offset) // S)
        if first <= last:
            take = slice(first * S + offset, last * S + offset + 1, S)
            taps.append(Tap(k, slice(first, last + 1), take))
    return taps


def at(axis: int, piece: slice) -> tuple[slice, ...]:
    """The index that takes ``piece`` along an axis and everything along those before it."""
    return (slice(None),) * axis + (piece,)


def fold(
    combine: Callable[..., Any], start: float, x: Array, axis: int, taps: list[Tap], size: int
) -> Array:
    """Combine the taps along an axis; the result, always a new array, has ``size`` places there."""
    whole = [tap for tap in taps if tap.put == slice(0, size)]
    if whole:  # most often some tap reaches every output: begin with it
        out = x[at(axis, whole[0].take)].copy()
    else:
        shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
        out = array_module(x).full(shape, start, x.dtype)
    for tap in taps:
        if tap not in whole[:1]:
            part = out[at(axis, tap.put)]
            combine(part, x[at(axis, tap.take)], out=part)
    return out


def spread(share: Array, axis: int, taps: list[Tap], size: int, disjoint: bool) -> Array:
    """The adjoint of folding with add: each output's share goes to every place that it saw."""
    shape = (*share.shape[:axis], size, *share.shape[axis + 1 :])
    grad = array_module(share).zeros(shape, share.dtype)
    for tap in taps:
        if disjoint:  # nothing to add to: saves a reading
            grad[at(axis, tap.take)] = share[at(axis, tap.put)]
        else:
            grad[at(axis, tap.take)] += share[at(axis, tap.put)]
    return grad
