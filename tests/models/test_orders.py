"""The orders of batch norm, ReLU and addition (He et al. 2016, figure 4 and table 2)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.check import gradcheck
from minires.errors import UsageError
from minires.models.block_options import ORDERS, BlockOptions
from minires.models.blocks import basic, make_block
from tests.models import formulas

OTHERS = [order for order in ORDERS if order != "original"]


def build(depth: int = 14, seed: int = 0, **options: Any) -> Any:
    """In float64, with scales and biases away from 1 and 0, so that no mix-up can hide."""
    mr.manual_seed(seed)
    model = mr.models.cifar_resnet(depth, **{"width": 2, "num_classes": 5, **options})
    draw = np.random.default_rng(seed + 1)
    for name, parameter in model.to("float64").named_parameters():
        if parameter.ndim == 1:
            parameter.data[...] = draw.uniform(0.5, 1.5, parameter.shape) - 0.5 * ("bias" in name)
    return model


def images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize(
    ("residual", "shortcut"), [(True, "A"), (True, "B"), (True, "C"), (False, "A")]
)
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("order", ORDERS)
def test_a_network_is_the_figure_from_the_stem_to_the_head(
    order: str, block: str, shortcut: str, residual: bool
) -> None:
    if not residual and order in ("bn-after-addition", "relu-before-addition"):
        return  # a second name for the plain original block, see below
    depth = 14 if block == "basic" else 20
    model = build(depth, order=order, block=block, shortcut=shortcut, residual=residual)
    p = formulas.arrays(model)
    x = images(4, 3, 8, 8)
    stride_at = int(block == "bottleneck")
    expected = formulas.network(x, p, order=order, stride_at=stride_at, residual=residual)
    np.testing.assert_allclose(model(mr.tensor(x)).data, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("order", ["original", "relu-before-addition", "full-preactivation"])
def test_without_norm_the_order_of_the_rest_is_the_same(order: str) -> None:
    model = build(order=order, norm=None)
    x = images(4, 3, 8, 8)
    expected = formulas.network(x, formulas.arrays(model), order=order)
    np.testing.assert_allclose(model(mr.tensor(x)).data, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("order", ORDERS)
def test_the_gradient_of_a_block_is_right(order: str, block: str) -> None:
    model = build(14 if block == "basic" else 20, order=order, block=block)
    for checked in (model.layer1[1], model.layer2[0]):
        x = mr.tensor(images(2, checked.conv1.weight.shape[1], 4, 4))
        gradcheck(checked, x, directions=3)


@pytest.mark.parametrize("order", ORDERS)
def test_a_batch_norm_stands_before_the_head_in_full_preactivation_alone(order: str) -> None:
    names = dict(build(8, order=order).named_parameters())
    assert ("bn2.weight" in names) == (order == "full-preactivation")


@pytest.mark.parametrize("order", ["relu-only-preactivation", "full-preactivation"])
def test_a_branch_begins_with_its_convolution_where_its_input_is_activated_already(
    order: str,
) -> None:
    model = build(order=order)
    for block in (model.layer1[0], model.layer2[0]):  # by the stem, and before the fork
        u = mr.tensor(images(2, 2, 4, 4))
        out = block.conv1(u)
        out = block.bn1(out) if order.startswith("relu") else block.bn2(out)
        out = block.conv2(F.relu(out))
        out = block.bn2(out) if order.startswith("relu") else out
        np.testing.assert_allclose(block.branch(u).data, out.data, rtol=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_an_auxiliary_head_begins_as_the_head_of_the_network(order: str) -> None:
    head = build(order=order, aux_heads=1).aux1
    channels = head.fc.weight.shape[1]
    x = images(3, channels, 4, 4)
    expected, p = x, formulas.arrays(head)
    for word in formulas.ORDERS[order][2].split():
        expected = formulas.bn(expected, p, "bn") if word == "bn" else formulas.relu(expected)
    expected = expected.mean((2, 3)) @ p["fc.weight"].T + p["fc.bias"]
    np.testing.assert_allclose(head(mr.tensor(x)).data, expected, rtol=1e-9, atol=1e-12)


def test_preactivation_is_short_for_full_preactivation() -> None:
    short, long = build(preactivation=True), build(order="full-preactivation")
    assert short.preactivation
    assert long.preactivation
    assert short.order == long.order == "full-preactivation"
    x = mr.tensor(images(2, 3, 8, 8))
    assert short(x).data.tobytes() == long(x).data.tobytes()
    assert list(short.state_dict()) == list(long.state_dict())
    both = build(preactivation=True, order="full-preactivation")
    assert both(x).data.tobytes() == long(x).data.tobytes()
    assert short.options == long.options == both.options
    assert short.block_options == long.block_options
    assert short.options["preactivation"] is short.block_options.preactivation is True
    assert build().order == "original"
    assert build().options == build(order="original").options


SECOND_NAMES: list[tuple[dict[str, Any], str]] = [
    ({"order": "bn-after-addition", "norm": None}, "original"),
    ({"order": "relu-only-preactivation", "norm": None}, "full-preactivation"),
    ({"order": "bn-after-addition", "residual": False}, "original"),
    ({"order": "relu-before-addition", "residual": False}, "original"),
]


@pytest.mark.parametrize(("options", "same"), SECOND_NAMES)
def test_an_order_that_would_be_another_one_is_refused(options: dict[str, Any], same: str) -> None:
    with pytest.raises(UsageError, match=f"the block is that of order='{same}'. Choose that."):
        build(**options)
    own = BlockOptions(**options)  # nothing checks these, and so the blocks can be compared
    one, other = (
        make_block(basic(2, 2, 1, 2), o) for o in (own, dataclasses.replace(own, order=same))
    )
    other.load_state_dict(one.state_dict())
    x = mr.tensor(images(4, 2, 4, 4).astype(np.float32))
    assert one(x).data.tobytes() == other(x).data.tobytes()


@pytest.mark.parametrize("order", [o for o in ORDERS if o != "full-preactivation"])
def test_a_contradiction_is_refused(order: str) -> None:
    with pytest.raises(UsageError, match="preactivation=True is short for order='full-preact"):
        build(order=order, preactivation=True)


def test_all_orders_of_one_seed_share_their_weights() -> None:
    def weights(order: str) -> dict[str, bytes]:
        mr.manual_seed(3)
        model = mr.models.cifar_resnet(14, width=2, order=order, shortcut="B")
        return {n: p.data.tobytes() for n, p in model.named_parameters() if p.ndim > 1}

    assert all(weights(order) == weights("original") for order in OTHERS)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("order", [o for o in ORDERS if o != "relu-before-addition"])
def test_zero_init_makes_every_branch_zero_and_lets_it_learn(order: str, block: str) -> None:
    mr.manual_seed(0)
    depth = 14 if block == "basic" else 20
    model = mr.models.cifar_resnet(
        depth, width=2, order=order, block=block, zero_init_residual=True, num_classes=3
    )
    for one in model.blocks():
        x = mr.tensor(np.abs(images(2, one.conv1.weight.shape[1], 4, 4)).astype(np.float32))
        assert not one.branch(one.pre(x)).data.any()
        if not one.changes_shape and order != "bn-after-addition":
            np.testing.assert_array_equal(one(x).data, x.data)
    out = model(mr.tensor(images(4, 3, 8, 8).astype(np.float32)))
    F.cross_entropy(out, mr.tensor([0, 1, 2, 0])).backward()
    for one in model.blocks():
        assert one.last_scale().grad.data.any()


def test_a_branch_that_ends_with_relu_would_be_dead_and_so_zero_init_is_refused() -> None:
    with pytest.raises(UsageError, match="a ReLU that is given zeros sends no gradient back"):
        build(order="relu-before-addition", zero_init_residual=True)
    block = build(order="relu-before-addition").layer1[1]
    for parameter in (block.bn2.weight, block.bn2.bias):
        nn.init.zeros_(parameter)
    (block(mr.tensor(images(2, 2, 4, 4))) ** 2).sum().backward()
    assert not any(p.grad.data.any() for p in block.parameters())


@pytest.mark.parametrize(
    ("order", "ending"),
    [
        ("original", "residual-8"),
        ("relu-only-preactivation", "residual-8, relu-only-preactivation"),
        ("full-preactivation", "residual-8, pre-activation"),
    ],
)
def test_a_network_says_its_order(order: str, ending: str) -> None:
    assert build(8, order=order).extra_repr() == ending
