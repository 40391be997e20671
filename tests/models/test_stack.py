"""Stacks of constant width: their structure, their draw, and that instruments work on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn, rng
from minires.errors import ShapeError, UsageError
from minires.flow import ledger
from minires.models import stack


def weights(model: nn.Module) -> dict[str, np.ndarray]:
    return {name: p.data for name, p in model.named_parameters()}


def by_hand(model: Any, x: np.ndarray) -> np.ndarray:
    """A dense stack in plain NumPy, with the batch norm of training."""

    def activate(h: np.ndarray) -> np.ndarray:
        if model.layers[0].layer.bias is None:
            h = (h - h.mean(axis=0)) / np.sqrt(h.var(axis=0) + 1e-5)
        return np.maximum(h, 0.0)

    h = x.reshape(len(x), -1)
    if model.stem is not None:
        h = h @ model.stem.weight.data.T
    for block in model.layers:
        out = activate(h) @ block.layer.weight.data.T
        h = out if block.shortcut is None else h + out
    if model.fc is None:
        return h
    return activate(h) @ model.fc.weight.data.T + model.fc.bias.data


@pytest.mark.parametrize("kind", ["plain", "residual"])
@pytest.mark.parametrize("norm", ["batch", None])
@pytest.mark.parametrize("ends", [{}, {"in_channels": 6, "num_classes": 3}])
def test_a_dense_stack_computes_what_it_says(kind: str, norm: str | None, ends: Any) -> None:
    mr.manual_seed(0)
    model = stack(3, 5, kind=kind, norm=norm, **ends).to("float64")
    shape = (7, 6, 1, 1) if ends else (7, 5)
    x = np.random.default_rng(1).standard_normal(shape)
    out = model(mr.tensor(x))
    assert out.shape == ((7, 3) if ends else (7, 5))
    np.testing.assert_allclose(out.data, by_hand(model, x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("norm", ["batch", None])
def test_a_convolutional_stack_keeps_channels_and_size(norm: str | None) -> None:
    model = stack(2, 4, dense=False, norm=norm)
    assert model(mr.randn(2, 4, 5, 7)).shape == (2, 4, 5, 7)
    headed = stack(2, 4, dense=False, norm=norm, in_channels=1, num_classes=3)
    assert headed(mr.randn(2, 1, 5, 7)).shape == (2, 3)
    for block in model.blocks():
        assert block.layer.weight.shape == (4, 4, 3, 3)


def test_there_is_one_layer_a_block_and_a_plain_block_has_no_shortcut() -> None:
    for kind in ("plain", "residual"):
        blocks = stack(4, 3, kind=kind).blocks()
        assert len(blocks) == 4
        for block in blocks:
            assert (block.shortcut is None) == (kind == "plain")
            assert sum(isinstance(m, nn.Linear) for m in block.modules()) == 1


def test_plain_and_residual_start_from_the_same_weights() -> None:
    found = []
    for kind in ("plain", "residual"):
        mr.manual_seed(3)
        found.append(weights(stack(3, 4, kind=kind, in_channels=2, num_classes=2)))
    assert list(found[0]) == list(found[1])
    for name, value in found[0].items():
        np.testing.assert_array_equal(value, found[1][name])


def test_a_stack_costs_one_draw_of_the_default_generator() -> None:
    mr.manual_seed(5)
    stack(6, 8, num_classes=2)
    after = rng.default_generator().integers(2**63)
    mr.manual_seed(5)
    rng.default_generator().integers(2**63)
    assert rng.default_generator().integers(2**63) == after


@pytest.mark.parametrize("dense", [True, False])
def test_weights_have_the_deviation_of_he_times_the_scale(dense: bool) -> None:
    mr.manual_seed(0)
    width = 256 if dense else 48
    fan = width if dense else 9 * width
    for scale in (1.0, 0.5):
        model = stack(1, width, dense=dense, init_scale=scale, norm=None, in_channels=width)
        for layer in (model.stem, model.layers[0].layer):
            assert layer.weight.data.std() == pytest.approx(scale * (2 / fan) ** 0.5, rel=0.03)
            assert not layer.bias.data.any()


def test_the_scale_leaves_the_head_alone() -> None:
    heads = []
    for scale in (1.0, 7.0):
        mr.manual_seed(2)
        heads.append(stack(2, 4, init_scale=scale, num_classes=3).fc)
    np.testing.assert_array_equal(heads[0].weight.data, heads[1].weight.data)
    np.testing.assert_array_equal(heads[0].bias.data, heads[1].bias.data)
    assert np.abs(heads[0].weight.data).max() <= 0.5


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_a_ledger_can_be_taken_of_it(kind: str, dense: bool) -> None:
    mr.manual_seed(0)
    model = stack(4, 4, kind=kind, dense=dense, in_channels=2, num_classes=3)
    x = np.random.default_rng(0).standard_normal((6, 2) if dense else (6, 2, 4, 4))
    found = ledger(model, x.astype(np.float32), np.array([0, 1, 2, 0, 1, 2]))
    assert [entry.kind for entry in found.blocks] == [kind] * 4
    assert found.max_error < 1e-5


def test_it_trains() -> None:
    mr.manual_seed(0)
    model = stack(2, 16, kind="residual", in_channels=2, num_classes=2)
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1)
    x = np.random.default_rng(0).standard_normal((64, 2)).astype(np.float32)
    target = mr.tensor((x[:, 0] * x[:, 1] > 0).astype(np.int64))
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(mr.tensor(x)), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"kind": "dense"}, "choose 'plain' or 'residual'"),
        ({"norm": "layer"}, "choose 'batch' or None"),
        ({"depth": 0}, "depth must be at least 1, got 0"),
        ({"width": 0}, "width must be at least 1"),
        ({"in_channels": 0}, "in_channels must be at least 1"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, Any], says: str) -> None:
    given = {"depth": 2, "width": 4, **options}
    with pytest.raises(UsageError, match=says):
        stack(**given)


def test_data_of_another_width_need_a_stem() -> None:
    with pytest.raises(ShapeError, match="Give it in_channels"):
        stack(2, 4)(mr.randn(3, 5))
    with pytest.raises(ShapeError, match="4 numbers a pixel"):
        stack(2, 4, dense=False)(mr.randn(3, 5, 2, 2))


def test_its_name_tells_kind_depth_and_width() -> None:
    assert repr(stack(3, 8, kind="residual")).startswith("Stack(residual-3, width=8")
