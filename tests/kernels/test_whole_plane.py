"""Convolutions whose outputs all see the whole plane, as products with a dense matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from minires.kernels import conv, parallel, reference, whole_plane
from minires.kernels.layout import lies_images_last
from minires.kernels.whole_plane import places
from tests.kernels.laid_out import drawn, images_last

# (H, W) of the image, (KH, KW) of the kernel, and how: all such that every output sees everything.
SEEN: list[tuple[tuple[int, int], tuple[int, int], dict[str, Any]]] = [
    ((2, 2), (3, 3), {"padding": 1}),
    ((1, 1), (3, 3), {"padding": 1}),
    ((1, 1), (1, 1), {}),
    ((2, 3), (2, 3), {}),
    ((3, 2), (5, 3), {"padding": (2, 1)}),
    ((2, 2), (3, 3), {"padding": 1, "stride": 2}),
    ((2, 1), (4, 5), {"padding": (2, 2), "stride": (2, 1)}),
    ((1, 2), (3, 3), {"padding": (2, 1), "dilation": (2, 1)}),
]


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which of the three maps were computed here."""
    names: list[str] = []
    for name in ("forward", "grad_input", "grad_weight"):
        kernel = getattr(whole_plane, name)

        def watched(*args: Any, _name: str = name, _kernel: Any = kernel) -> Any:
            names.append(_name)
            return _kernel(*args)

        monkeypatch.setattr(whole_plane, name, watched)
    return names


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("last", [False, True], ids=["images first", "images last"])
@pytest.mark.parametrize(("image", "kernel", "how"), SEEN, ids=str)
def test_all_maps_equal_the_reference(
    image: tuple[int, int],
    kernel: tuple[int, int],
    how: dict[str, Any],
    last: bool,
    dtype: Any,
    used: list[str],
) -> None:
    lay = images_last if last else np.array
    x, weight, bias = drawn(5, 3, *image), drawn(4, 3, *kernel), drawn(4)
    out = reference.conv2d(x, weight, bias, **how)
    g = drawn(*out.shape)
    expected = reference.conv2d_grads(g, x, weight, **how)
    near: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5} if dtype == np.float32 else {"rtol": 1e-9}
    x, weight, bias, g = (array.astype(dtype) for array in (x, weight, bias, g))
    x, g = lay(x), lay(g)
    found = conv.conv2d(x, weight, bias, **how)
    np.testing.assert_allclose(found, out, **near)
    assert found.dtype == dtype
    assert lies_images_last(found)
    grads = conv.conv2d_grads(g, x, weight, **how)
    apart = (
        conv.conv2d_grad_input(g, weight, x.shape, **how),
        conv.conv2d_grad_weight(g, x, weight.shape, **how),
    )
    for both, alone, exact in zip(grads, apart, expected, strict=True):
        np.testing.assert_allclose(both, exact, **near)
        np.testing.assert_array_equal(both, alone)
        assert both.dtype == dtype
    assert used == ["forward", "grad_input", "grad_weight", "grad_input", "grad_weight"]


@pytest.mark.parametrize(
    ("image", "kernel", "how"),
    [
        ((3, 3), (3, 3), {"padding": 1}),  # corners do not see each other
        ((2, 2), (2, 2), {"padding": 1}),
        ((2, 1), (3, 3), {"padding": 2}),  # the first output sees padding and the first pixel
        ((2, 1), (3, 1), {"padding": (2, 0), "dilation": (2, 1)}),  # steps over a pixel
        ((2, 2), (3, 3), {"padding": 1, "groups": 2}),
    ],
    ids=str,
)
def test_all_other_convolutions_are_left_to_shifted_products(
    image: tuple[int, int], kernel: tuple[int, int], how: dict[str, Any], used: list[str]
) -> None:
    x, weight = drawn(5, 4, *image), drawn(4, 4 // how.get("groups", 1), *kernel)
    out = conv.conv2d(x, weight, **how)
    np.testing.assert_allclose(out, reference.conv2d(x, weight, **how), atol=1e-12)
    grads = conv.conv2d_grads(out, x, weight, **how)
    for one, other in zip(grads, reference.conv2d_grads(out, x, weight, **how), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)
    assert used == []


def test_so_is_much_work(used: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = drawn(8, 3, 2, 2), drawn(4, 3, 3, 3)
    monkeypatch.setattr(parallel, "CHUNK_BYTES", 2000)
    conv.conv2d(x, weight, padding=1)
    conv.conv2d_grads(drawn(8, 4, 2, 2), x, weight, padding=1)
    assert used == []


@pytest.mark.parametrize(("channels", "there"), [(45, True), (46, False)])
def test_a_matrix_of_more_numbers_than_gathering_pays_for_is_not_made(
    channels: int, there: bool
) -> None:
    found = places((channels, channels, 3, 3), (2, 2), (2, 2), (1, 1), (1, 1), (1, 1))
    assert (found is not None) == there  # 45 * 45 * 16 = 32400


def test_every_number_of_the_matrix_is_the_weight_of_the_tap_between_two_places() -> None:
    found = places((2, 3, 3, 3), (2, 2), (2, 2), (1, 1), (1, 1), (1, 1))
    assert found is not None
    weight = drawn(2, 3, 3, 3)
    matrix = weight.ravel()[found.matrix].reshape(2, 2, 2, 3, 2, 2)
    for i, j, h, w in np.ndindex(2, 2, 2, 2):
        np.testing.assert_array_equal(matrix[:, i, j, :, h, w], weight[:, :, h - i + 1, w - j + 1])
    np.testing.assert_array_equal(found.turned, found.matrix.T)


def test_long_sums_are_cut_here_too(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = drawn(5, 9, 2, 2), drawn(2, 9, 3, 3)  # 36 terms
    whole = conv.conv2d(x, weight, padding=1)
    asked: list[int] = []
    short_sums = whole_plane.short_sums
    monkeypatch.setattr(
        whole_plane, "short_sums", lambda n: (asked.append(n), [slice(0, 20), slice(20, n)])[1]
    )
    np.testing.assert_allclose(conv.conv2d(x, weight, padding=1), whole, rtol=1e-12)
    assert asked == [36]
    assert len(short_sums(129)) == 2


def test_numbers_wider_than_float64_are_left_to_shifted_products(used: list[str]) -> None:
    x, weight = drawn(5, 3, 2, 2), drawn(4, 3, 3, 3)
    g = drawn(5, 4, 2, 2)
    wide = [array.astype(np.longdouble) for array in (g, x, weight)]
    found = conv.conv2d_grads(*wide, padding=1)
    for one, other in zip(found, reference.conv2d_grads(g, x, weight, padding=1), strict=True):
        assert one.dtype == np.longdouble
        np.testing.assert_allclose(one, other, atol=1e-12)
    if np.dtype(np.longdouble).itemsize > 8:
        assert used == []


def test_the_places_of_all_networks_cannot_be_written_to() -> None:
    found = places((2, 3, 3, 3), (2, 2), (2, 2), (1, 1), (1, 1), (1, 1))
    assert found is not None
    assert not any(array.flags.writeable for array in found)
