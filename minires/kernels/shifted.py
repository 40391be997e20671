"""Convolution as a few matrix products with shifted views of an image that is unfolded sideways.

Letters: n images in a chunk of the batch, G groups, C channels a group of the input and M of the
output; KH rows and KW columns of the kernel, OH and OW of the output.  A tap is one place (kh, kw)
of the kernel.

im2col copies the image KH*KW times, once for each tap.  Here it is copied KW times, once for each
column of the kernel, moved sideways so that every output finds its number in its own column:

    unfolded[kw, c, row, ow] = x[c, row, what output ow reads in column kw]      0 beyond the image

What the taps of kernel row kh multiply, for all outputs at once, is then a block of OH whole rows
of that buffer, and the next kernel row multiplies the same memory from a later row on.  Rows lie
one after the other, so a block is a matrix, and nothing is copied for it:

    out = sum over kh of  weight_kh @ unfolded[:, rows of kh]
          (M, OH*OW)      (M, KW*C)   (KW*C, OH*OW)

These are KH products of inner size KW*C, fat enough for BLAS, and they land in the output where it
lies.  With a stride, rows that an output does not step on are left out: kernel rows that read rows
of the same remainder share a buffer, the others have one of their own.

All three maps of a convolution are made of this.  The gradient by the input is the same routine on
grad_out, with other places to read from and the two channel axes of the weight exchanged; with a
stride of S it is S*S small convolutions, one for each remainder of the pixel's row and column,
each with its own taps of the kernel and none of them with a zero to multiply.  The gradient by the
weight is the same products the other way round.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from minires.device import Array, array_module
from minires.kernels.parallel import scratch

__all__ = ["Reading", "correlate", "correlate_with", "images_together", "matrices", "working_set"]


class Reading(NamedTuple):
    """Where a convolution reads: tap (r, s) of output (i, j) reads

    x[i * row_step + rows[r], j * column_step + columns[s]]        0 beyond the image
    """

    rows: Sequence[int]
    columns: Sequence[int]
    row_step: int
    column_step: int


class _Block(NamedTuple):
    """A buffer of unfolded rows, and the kernel rows that use it."""

    first: int  # the row of x that its row 0 holds
    height: int  # rows
    uses: list[tuple[int, int]]  # kernel row, and the row of the buffer where its block begins


def matrices(weight: Array) -> Array:
    """The weight (G, M, C, KH, KW) as a matrix for each kernel row: (KH, G, M, KW*C)."""
    G, M, C, KH, KW = weight.shape
    return weight.transpose(3, 0, 1, 4, 2).reshape(KH, G, M, KW * C)


def correlate(x: Array, weights: Array, reading: Reading, out: Array) -> None:
    """Write to ``out`` the sum over the taps of the tap's weight @ what the tap reads.

    x (n, G, C, H, W)    weights: matrices(weight)    out (n, G, M, OH, OW), any strides
    """
    n, G, M, OH, OW = out.shape
    KH = len(weights)
    if not weights.size:  # no tap reaches these outputs
        out[...] = 0
        return
    matmul = array_module(x).matmul
    together = images_together(KH * weights.shape[3], OH * OW)
    in_place = not together and out.flags.c_contiguous
    shape = (G, M, OH * n * OW) if together else (n, G, M, OH * OW)
    total = out.reshape(shape) if in_place else scratch(x, "total", shape, out.dtype)
    target = total
    for kh, block in _blocks_read(x, reading, OH, OW, together):
        matmul(weights[kh], block, out=target)
        if target is not total:
            total += target
        elif KH > 1:  # all but the first product are added
            target = scratch(x, "product", shape, out.dtype)
    if together:
        out[...] = total.reshape(G, M, OH, n, OW).transpose(3, 0, 1, 2, 4)
    elif not in_place:
        out[...] = total.reshape(out.shape)


def correlate_with(g: Array, x: Array, reading: Reading) -> Array:
    """Sum over images and outputs of g * what each tap reads: (KH, G, KW*C, M).

        g (n, G, M, OH, OW)    x (n, G, C, H, W)

    Where the result is small, its rows and columns are few, BLAS multiplies g with the block
    turned; otherwise a copy of g that is turned beforehand pays.
    """
    xp = array_module(x)
    n, G, M, OH, OW = g.shape
    C, KH, KW = x.shape[2], len(reading.rows), len(reading.columns)
    dtype = xp.result_type(g, x)
    out = xp.empty((KH, G, KW * C, M), dtype)
    together = images_together(C * KH * KW, OH * OW)
    if together:
        turned = scratch(x, "turned", (G, OH, n, OW, M), g.dtype)
        turned[...] = g.transpose(1, 3, 0, 4, 2)
        turned = turned.reshape(1, G, OH * n * OW, M)
    elif M * KW * C > SMALL_RESULT:
        turned = scratch(x, "turned", (n, G, OH * OW, M), g.dtype)
        turned[...] = g.reshape(n, G, M, OH * OW).swapaxes(2, 3)
    else:
        turned = None
        g = g.reshape(n, G, M, OH * OW)
    for kh, block in _blocks_read(x, reading, OH, OW, together):
        if turned is None:
            out[kh] = xp.matmul(g, block.swapaxes(2, 3)).sum(axis=0).swapaxes(1, 2)
        else:
            xp.matmul(block, turned).sum(axis=0, out=out[kh])
    return out


# Measured (minires bench --only 'conv-*'): OpenBLAS has a quick way for products whose second
# factor is turned and whose result has at most about so many numbers.
SMALL_RESULT = 1200

# Measured: with this many numbers in a filter for each place of an output plane, reading the
# filters again for every image costs more than laying the images side by side.
FILTER_PER_PLACE = 10


def images_together(filter_size: int, places: int) -> bool:
    """Whether the images of a chunk lie side by side in one wide matrix, or each in its own.

    Each in its own needs no copy of the output, but every image reads all the filters.  That is
    much where a filter (C*KH*KW numbers) is large and an output plane (OH*OW places) small.

    >>> images_together(64 * 9, 8 * 8), images_together(512 * 9, 7 * 7)
    (False, True)
    """
    return filter_size >= FILTER_PER_PLACE * places


def working_set(C: int, M: int, reading: Reading, OH: int, OW: int) -> int:
    """Numbers that :func:`correlate` works on for one image: a buffer, the sum and a product."""
    if not reading.rows or not reading.columns:
        return M * OH * OW
    height = max(block.height for block in _blocks(reading, OH))
    return OW * (len(reading.columns) * C * height + 2 * M * OH)


def _blocks(reading: Reading, OH: int) -> list[_Block]:
    """Kernel rows by the remainder of the rows that they read: each remainder has a buffer."""
    step = reading.row_step
    by_remainder: dict[int, list[int]] = {}
    for kh, row in enumerate(reading.rows):
        by_remainder.setdefault(row % step, []).append(kh)
    blocks = []
    for members in by_remainder.values():
        first = min(reading.rows[kh] for kh in members)
        uses = [(kh, (reading.rows[kh] - first) // step) for kh in members]
        blocks.append(_Block(first, OH + max(start for _, start in uses), uses))
    return blocks


def _blocks_read(
    x: Array, reading: Reading, OH: int, OW: int, together: bool
) -> Iterator[tuple[int, Array]]:
    """For each kernel row the numbers that it reads, as a matrix for each image and group.

    (n, G, KW*C, OH*OW), or with the images together (1, G, KW*C, OH*n*OW).
    """
    width = len(x) * OW if together else OW  # of a row of a buffer
    for block in _blocks(reading, OH):
        unfolded = _unfold(x, reading, block, OW, together)
        for kh, start in block.uses:
            yield kh, unfolded[..., start * width : (start + OH) * width]


def _unfold(x: Array, reading: Reading, block: _Block, OW: int, together: bool) -> Array:
    """The rows of a block once for each kernel column, moved sideways: (n, G, KW*C, height*OW)."""
    n, G, C, H, W = x.shape
    _, columns, row_step, column_step = reading
    first, height, KW = block.first, block.height, len(columns)
    as_it_is = (first, height, row_step, *columns, OW, column_step) == (0, H, 1, 0, W, 1)
    if as_it_is and not together:  # a 1x1 kernel: nothing to move, nothing to leave out
        return x.reshape(n, G, C, H * W)
    if together:
        memory = scratch(x, "unfolded", (G, KW, C, height, n, OW), x.dtype)
        unfolded = memory.transpose(4, 0, 1, 2, 3, 5)
    else:
        memory = unfolded = scratch(x, "unfolded", (n, G, KW, C, height, OW), x.dtype)
    rows, from_rows = _inside(first, row_step, height, H)
    unfolded[..., : rows.start, :] = 0
    unfolded[..., rows.stop :, :] = 0
    for kw in range(KW):
        cols, from_cols = _inside(columns[kw], column_step, OW, W)
        tap = unfolded[:, :, kw, :, rows]
        if cols.start:
            tap[..., : cols.start] = 0
        if cols.stop < OW:
            tap[..., cols.stop :] = 0
        tap[..., cols] = x[..., from_rows, from_cols]
    return memory.reshape(*((1, G) if together else (n, G)), KW * C, -1)


def _inside(first: int, step: int, count: int, size: int) -> tuple[slice, slice]:
    """Which of the places first, first + step, ... lie in an axis, and where: put and take."""
    start = min(count, max(0, -(first // step)))
    stop = max(start, min(count, (size - 1 - first) // step + 1))
    take = first + start * step
    return slice(start, stop), slice(take, take + (stop - start) * step, step)
