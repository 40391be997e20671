"""What identity shortcuts can be made instead (He et al. 2016, table 1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.check import gradcheck
from minires.errors import UsageError
from minires.flow import ledger
from minires.models import PadShortcut
from minires.models.block_options import GATED, SKIPS
from minires.models.shortcuts import GatedShortcut
from tests.models import formulas
from tests.models.test_orders import build, images

VARIANTS = [skip for skip in SKIPS if skip != "identity"]


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("shortcut", "AB")
@pytest.mark.parametrize("skip", VARIANTS)
def test_a_network_is_the_row_of_the_table(skip: str, shortcut: str, block: str) -> None:
    model = build(14 if block == "basic" else 20, skip=skip, shortcut=shortcut, block=block)
    if skip == "dropout":
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.eval()  # the identity then; what it does in training is tested below
    p, x = formulas.arrays(model), images(4, 3, 8, 8)
    expected = formulas.network(x, p, skip=skip, stride_at=int(block == "bottleneck"))
    np.testing.assert_allclose(model(mr.tensor(x)).data, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("skip", VARIANTS)
def test_the_gradient_of_a_block_is_right(skip: str) -> None:
    model = build(skip=skip)

    def run(x: Any) -> Any:
        mr.manual_seed(0)  # the same numbers are dropped every time
        return model.layer1[1](x)

    gradcheck(run, mr.tensor(images(2, 2, 4, 4)), directions=3)
    if skip != "dropout":  # the parameters too
        gradcheck(model.layer1[1], mr.tensor(images(2, 2, 4, 4)), directions=3)


@pytest.mark.parametrize("shortcut", "AB")
@pytest.mark.parametrize("skip", VARIANTS)
def test_only_identity_shortcuts_are_changed(skip: str, shortcut: str) -> None:
    blocks = build(skip=skip, shortcut=shortcut).blocks()
    kinds = [type(b.downsample) for b in blocks]
    grown = PadShortcut if shortcut == "A" else nn.Sequential
    variant = {
        "constant-scaling": type(None),
        "constant-scaling-skip": type(None),
        "exclusive-gating": GatedShortcut,
        "shortcut-only-gating": GatedShortcut,
        "conv": nn.Sequential,
        "dropout": nn.Dropout,
    }[skip]
    assert kinds == [variant, variant, grown, variant, grown, variant]
    on_skip = 0.5 if "constant" in skip else 1.0
    on_branch = 0.5 if skip == "constant-scaling" else 1.0
    for i, block in enumerate(blocks):
        expected = (1.0, 1.0) if i in (2, 4) else (on_skip, on_branch)
        assert (block.skip_scale, block.branch_scale) == expected


@pytest.mark.parametrize("skip", VARIANTS)
def test_networks_of_one_seed_share_what_they_have_in_common(skip: str) -> None:
    def weights(**options: Any) -> dict[str, bytes]:
        mr.manual_seed(4)
        model = mr.models.cifar_resnet(14, width=2, **options)
        return {name: p.data.tobytes() for name, p in model.named_parameters()}

    plain, changed = weights(), weights(skip=skip)
    assert {n: w for n, w in changed.items() if ".downsample." not in n} == plain


@pytest.mark.parametrize("start", [None, -1.0, 0.0])
@pytest.mark.parametrize("skip", GATED)
def test_gates_start_with_the_bias_they_are_given_and_minus_six_by_default(
    skip: str, start: float | None
) -> None:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(14, width=8, skip=skip, gate_bias=start)
    gates = [m for m in model.modules() if isinstance(m, GatedShortcut)]
    assert len(gates) == 4
    for gate in gates:
        channels = gate.gate.weight.shape[0]
        assert gate.gate.weight.shape == (channels, channels, 1, 1)
        assert gate.gate.weight.data.std() == pytest.approx((2 / channels) ** 0.5, rel=0.5)
        assert (gate.gate.bias.data == (-6.0 if start is None else start)).all()
        shut = gate.opening(mr.zeros(1, channels, 1, 1)).data
        expected = {None: 0.0024726, -1.0: 0.2689414, 0.0: 0.5}[start]
        np.testing.assert_allclose(shut, expected, rtol=1e-5)


def test_a_gate_shuts_the_branch_as_it_opens_the_skip_if_it_is_exclusive() -> None:
    x = mr.tensor(np.abs(images(2, 2, 4, 4)))
    for skip, branch in (("exclusive-gating", 0.0), ("shortcut-only-gating", 1.0)):
        block = build(skip=skip).layer1[1]
        nn.init.zeros_(block.downsample.gate.weight)
        nn.init.constant_(block.downsample.gate.bias, -50.0)
        u = x + branch * nn.Sequential(block.conv1, block.bn1, nn.ReLU(), block.conv2, block.bn2)(x)
        np.testing.assert_allclose(block(x).data, np.maximum(u.data, 0.0), rtol=1e-12)


def test_what_comes_back_through_a_gate_is_booked_on_the_way_that_it_stands_on() -> None:
    block = build(skip="exclusive-gating", gate_bias=0.0).layer1[1]
    block.activation = nn.Identity()
    x, cotangent = images(2, 2, 4, 4), mr.tensor(images(2, 2, 4, 4, seed=1))
    entry = ledger(block, x, cotangent, loss=lambda z, d: (z * d).sum()).blocks[0]

    def of(part: Any) -> np.ndarray:
        u = mr.tensor(x, requires_grad=True)
        return mr.grad((part(u) * cotangent).sum(), [u])[0].data

    g = block.downsample.opening
    np.testing.assert_allclose(entry.skip, of(lambda u: u - g(u) * u), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(entry.branch, of(block.branch), rtol=1e-9, atol=1e-12)


def test_a_dropout_skip_drops_half_and_doubles_the_rest_in_training_alone() -> None:
    block = build(skip="dropout").layer1[1]
    block.branch, block.activation = (lambda u: u * 0.0), nn.Identity()
    x = mr.ones(4, 2, 32, 32)
    mr.manual_seed(1)
    out = block(x).data
    assert set(np.unique(out)) == {0.0, 2.0}
    assert (out == 0).mean() == pytest.approx(0.5, abs=0.03)
    mr.manual_seed(1)
    assert block(x).data.tobytes() == out.tobytes()
    assert (block.eval()(x).data == 1.0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": "gated"}, "Unknown skip 'gated': choose 'identity', 'constant-scaling'"),
        ({"gate_bias": -1.0}, "skip='identity' has none: choose 'exclusive-gating' or 'shortcut-"),
        ({"skip": "conv", "gate_bias": 0.0}, "gate_bias is that of the gates"),
        ({"skip": "exclusive-gating", "gate_bias": float("nan")}, "must be a finite number"),
        ({"skip": "dropout", "residual": False}, "residual=False leaves them out"),
        ({"skip": "dropout", "order": "bn-after-addition"}, "a variant of the original block"),
        ({"skip": "conv", "shortcut": "C"}, "shortcut='C' leaves none"),
    ],
)
def test_bad_use_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(**options)
