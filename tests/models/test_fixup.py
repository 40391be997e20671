"""Fixup (Zhang, Dauphin, Ma 2019): its rules, its formula, and what they are good for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.check import gradcheck
from minires.errors import UsageError
from tests.models.formulas import Arrays, arrays, conv, relu, under
from tests.models.test_orders import images


def build(depth: int = 14, seed: int = 0, **options: Any) -> Any:
    mr.manual_seed(seed)
    settings = {"width": 4, "num_classes": 5, "norm": None, "fixup": True, **options}
    return mr.models.cifar_resnet(depth, **settings)


def shaken(depth: int = 14, **options: Any) -> Any:
    """In float64, with no parameter where it starts."""
    model = build(depth, **options).to("float64")
    draw = np.random.default_rng(1)
    for parameter in model.parameters():
        parameter.data[...] += draw.normal(0.0, 0.3, parameter.shape)
    return model


def basic(x: np.ndarray, p: Arrays, stride: int) -> np.ndarray:
    """Fixup, figure 1 right; the shortcut as in the authors' network for CIFAR."""
    out = relu(conv(x + p["bias1a"], p["conv1.weight"], stride) + p["bias1b"])
    out = conv(out + p["bias2a"], p["conv2.weight"]) * p["scale"] + p["bias2b"]
    return relu(out + skip(x, out, p, stride))


def bottleneck(x: np.ndarray, p: Arrays, stride: int) -> np.ndarray:
    out = relu(conv(x + p["bias1a"], p["conv1.weight"]) + p["bias1b"])
    out = relu(conv(out + p["bias2a"], p["conv2.weight"], stride) + p["bias2b"])
    out = conv(out + p["bias3a"], p["conv3.weight"]) * p["scale"] + p["bias3b"]
    return relu(out + skip(x, out, p, stride))


def skip(x: np.ndarray, out: np.ndarray, p: Arrays, stride: int) -> np.ndarray:
    if "downsample.0.weight" in p:
        return conv(x + p["bias1a"], p["downsample.0.weight"], stride)
    if x.shape == out.shape:
        return x
    padded = np.zeros_like(out)
    padded[:, : x.shape[1]] = (x + p["bias1a"])[:, :, ::stride, ::stride]
    return padded


def network(x: np.ndarray, p: Arrays, block: Any) -> np.ndarray:
    x = relu(conv(x, p["conv1.weight"]) + p["bn1.bias"])
    for stage in (1, 2, 3):
        for i in (0, 1):
            stride = 2 if stage > 1 and i == 0 else 1
            x = block(x, under(p, f"layer{stage}.{i}."), stride)
    return (x.mean((2, 3)) + p["fc.bias_before"]) @ p["fc.weight"].T + p["fc.bias"]


@pytest.mark.parametrize("shortcut", "AB")
@pytest.mark.parametrize(("block", "formula"), [("basic", basic), ("bottleneck", bottleneck)])
def test_a_network_is_that_of_the_authors(block: str, formula: Any, shortcut: str) -> None:
    model = shaken(14 if block == "basic" else 20, block=block, shortcut=shortcut)
    x = images(3, 3, 8, 8)
    expected = network(x, arrays(model), formula)
    np.testing.assert_allclose(model(mr.tensor(x)).data, expected, rtol=1e-10)


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_the_gradient_of_a_block_is_right(block: str) -> None:
    model = shaken(14 if block == "basic" else 20, block=block, width=2)
    for checked in (model.layer1[1], model.layer2[0]):
        x = mr.tensor(images(2, checked.conv1.weight.shape[1], 4, 4))
        gradcheck(checked, x, directions=3)


def test_all_biases_but_the_classifier_s_are_scalars_and_nothing_is_normalised() -> None:
    model = build(block="bottleneck", depth=20, shortcut="B")
    biases = {n: p.shape for n, p in model.named_parameters() if "bias" in n.split(".")[-1]}
    assert biases.pop("fc.bias") == (5,)
    assert set(biases.values()) == {(1,)}
    names = " ".join(sorted(n for n, p in model.layer1[1].named_parameters() if p.ndim == 1))
    assert names == "bias1a bias1b bias2a bias2b bias3a bias3b scale"
    assert not list(model.buffers())


@pytest.mark.parametrize(
    ("options", "power"),
    [
        ({}, -1 / 2),
        ({"depth": 20, "layers_per_skip": 3}, -1 / 4),
        ({"depth": 20, "block": "bottleneck"}, -1 / 4),
        ({"layers_per_skip": 1}, None),
    ],
)
def test_branches_start_with_he_s_weights_times_a_power_of_their_number(
    options: dict[str, Any], power: float | None
) -> None:
    model = build(**options)
    drawn = build(**{**options, "fixup": False})  # the same draws, by He's rule alone
    L = len(model.blocks())
    for one, other in zip(model.blocks(), drawn.blocks(), strict=True):
        for i in range(1, one.depth):
            assert power is not None
            found, he = (getattr(b, f"conv{i}").weight.data for b in (one, other))
            np.testing.assert_allclose(found, he * L**power, rtol=1e-6)
        assert not getattr(one, f"conv{one.depth}").weight.data.any()
        assert one.scale.tolist() == [1.0]
    assert model.conv1.weight.data.tobytes() == drawn.conv1.weight.data.tobytes()
    assert not model.fc.weight.data.any()
    assert not model.fc.bias.data.any()


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize("depth", [20, 38])
def test_at_the_start_every_block_is_its_shortcut_and_a_relu(depth: int, block: str) -> None:
    model = build(depth, block=block)
    for one in model.blocks():
        x = mr.tensor(images(2, one.conv1.weight.shape[1], 6, 6).astype(np.float32))
        expected = F.relu(x if one.downsample is None else one.downsample(x))
        np.testing.assert_array_equal(one(x).data, expected.data)
    assert not model(mr.randn(2, 3, 8, 8)).data.any()


@pytest.mark.parametrize("num_classes", [1, 5])
def test_biases_and_multipliers_are_told_by_name_and_have_a_tenth_of_the_rate(
    num_classes: int,
) -> None:
    model = build(8, num_classes=num_classes, aux_heads=1)
    names = {id(p): n for n, p in model.named_parameters()}
    fast, slow = mr.models.fixup_groups(model, 0.5)
    assert (fast["lr"], slow["lr"]) == (0.5, 0.05)
    assert {names[id(p)].split(".")[-1] for p in fast["params"]} == {"weight"}
    ends = {names[id(p)].split(".")[-1] for p in slow["params"]}
    assert ends == {"bias", "bias_before", "bias1a", "bias1b", "bias2a", "bias2b", "scale"}
    assert "fc.bias" in {names[id(p)] for p in slow["params"]}
    assert len(fast["params"]) + len(slow["params"]) == len(names)


def test_auxiliary_classifiers_start_at_zero_as_the_main_one() -> None:
    main, auxiliary = build(aux_heads=2)(mr.randn(2, 3, 8, 8))
    assert len(auxiliary) == 2
    assert not any(out.data.any() for out in (main, *auxiliary))


def update(depth: int, scaled: bool = True) -> float:
    """How far a small step of the branches moves the output, divided by the learning rate.

    The classifier is drawn, since with one of zeros no branch moves in the first step.  The step is
    that of the convolutions, which the theory is about: a scalar bias at the end of each of L
    branches adds up to L, and so the authors train the scalars with a tenth of the rate.
    """
    model = build(depth, width=8).to("float64")
    nn.init.kaiming_normal_(model.fc.weight, generator=np.random.default_rng(0))
    if not scaled:  # rule 2 undone: He's weights in the branches
        for block in model.blocks():
            block.conv1.weight.data[...] *= len(model.blocks()) ** 0.5
    x, labels, lr = mr.tensor(images(8, 3, 8, 8)), mr.tensor(np.arange(8) % 5), 1e-5
    before = model(x)
    F.cross_entropy(before, labels).backward()
    parameters = [p for n, p in model.named_parameters() if n.startswith("layer") and p.ndim == 4]
    mr.optim.SGD(parameters, lr=lr).step()
    return float(np.abs(model(x).data - before.data).mean()) / lr


def test_a_step_moves_the_output_as_far_at_depth_8_as_at_depth_32() -> None:
    shallow, deep = update(8), update(32)
    assert 0.5 < deep / shallow < 2.0
    # Without the scale, each of 15 branches moves it as far as each of 3 does.
    assert update(32, scaled=False) / update(8, scaled=False) > 2.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "batch"}, "fixup=True needs norm=None, got 'batch': it is there to do without"),
        ({"residual": False}, "fixup=True needs residual=True, got False"),
        ({"preactivation": True}, "fixup=True needs order='original', got 'full-preactivation'"),
        ({"skip": "dropout"}, "fixup=True needs skip='identity', got 'dropout'"),
        ({"branch_scale": 0.0}, "fixup=True needs branch_scale=None, got 0.0"),
        ({"zero_init_residual": True}, "starts the last convolution of every branch at zero alre"),
    ],
)
def test_what_does_not_go_with_it_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(**options)
