"""The CIFAR family: the published sizes, torchvision's names, and what the options promise."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn, rng
from minires.autograd import guard
from minires.errors import UsageError
from minires.models import PadShortcut, PreActivationBlock, check_depth, nearest_depths
from tests.golden.loading import NetworkCase, load_networks

GOLDENS = load_networks()


def images(*shape: int, seed: int = 0, dtype: Any = np.float32) -> mr.Tensor:
    return mr.tensor(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


def build(seed: int, depth: int, **options: Any) -> Any:
    mr.manual_seed(seed)
    return mr.models.cifar_resnet(depth, **options)


def shake_norms(model: Any, seed: int = 1) -> None:
    """Batch-norm parameters and statistics away from 1 and 0, so that no mix-up can hide."""
    draw = np.random.default_rng(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data[...] = draw.uniform(0.5, 1.5, tensor.shape)


# --- the published sizes ---


@pytest.mark.parametrize(
    ("depth", "millions"),
    [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7), (1202, 19.4)],
)
def test_parameters_are_those_of_he_et_al_2015_table_6(depth: int, millions: float) -> None:
    model = mr.models.cifar_resnet(depth)
    digits = 1 if millions >= 1 else 2
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, digits) == millions


def test_resnet_20_does_the_multiply_adds_counted_by_hand() -> None:
    stem = 32 * 32 * (9 * 3) * 16
    stage = 6 * (32 * 32 * (9 * 16) * 16)  # a later stage has a quarter of the pixels, 4x the taps
    halved = 32 * 32 * (9 * 16) * 16 // 2  # its first convolution reads half as many channels
    head = 64 * 10
    found = mr.models.summary(mr.models.cifar_resnet(20), (3, 32, 32))
    assert found.multiply_adds == stem + 3 * stage - 2 * halved + head == 40_551_040


def preactivation_bottleneck_parameters(depth: int, norms: bool = True) -> int:
    """Added up from the shapes of He et al. 2016 at width 16, shortcut B."""

    def norm(channels: int) -> int:
        return 2 * channels if norms else 0

    total, channels = 9 * 3 * 16 + norm(16), 16
    for stage, inner in enumerate((16, 32, 64)):
        for i in range((depth - 2) // 9):
            total += channels * inner + 9 * inner * inner + inner * 4 * inner
            total += 2 * norm(inner) + (0 if stage == i == 0 else norm(channels))
            if channels != 4 * inner:  # only the first block of a stage
                total += channels * 4 * inner
            channels = 4 * inner
    return total + norm(256) + 256 * 10 + 10


@pytest.mark.parametrize(("depth", "millions"), [(164, 1.7), (1001, 10.2)])
def test_parameters_of_preactivation_bottlenecks_are_those_of_he_et_al_2016(
    depth: int, millions: float
) -> None:
    # The paper's 10.2 million are those of the convolutions and the head; with batch norm 10.3.
    assert round(preactivation_bottleneck_parameters(depth, norms=False) / 1e6, 1) == millions
    for small in (11, 29, 164):
        model = mr.models.cifar_resnet(small, block="bottleneck", preactivation=True, shortcut="B")
        found = sum(p.numel() for p in model.parameters())
        assert found == preactivation_bottleneck_parameters(small)


@pytest.mark.parametrize(
    ("depth", "options"),
    [
        (1202, {}),
        (164, {"block": "bottleneck", "preactivation": True, "shortcut": "B"}),
        (1001, {"block": "bottleneck", "preactivation": True, "shortcut": "B"}),
    ],
    ids=["1202", "pre-164", "pre-1001"],
)
def test_the_deepest_networks_run_forward_and_backward(depth: int, options: dict[str, Any]) -> None:
    model = build(0, depth, width=2, **options)
    loss = F.cross_entropy(model(images(2, 3, 8, 8)), mr.tensor([3, 5]))
    loss.backward()
    assert math.isfinite(loss.item())
    for parameter in model.parameters():
        assert np.isfinite(parameter.grad.data).all()
    assert np.abs(model.conv1.weight.grad.data).max() > 0
    layers = [m for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    projections = sum("downsample" in n for n, p in model.named_parameters() if p.ndim == 4)
    assert len(layers) - projections == depth


# --- depths and settings that do not exist ---


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"depth": 21}, "6n+2; the nearest are 20 and 26."),
        ({"depth": 57}, "the nearest are 56 and 62."),
        ({"depth": 9}, "the nearest are 8 and 14."),
        ({"depth": 3}, "the nearest is 8."),
        ({"depth": 2}, "the nearest is 8."),
        ({"depth": 0}, "the nearest is 8."),
        ({"depth": -4}, "the nearest is 8."),
        ({"depth": 21, "block": "bottleneck"}, "9n+2; the nearest are 20 and 29."),
        ({"depth": 8, "layers_per_skip": 3}, "18n+2; the nearest is 20."),
        ({"depth": 26, "layers_per_skip": 3}, "18n+2; the nearest are 20 and 38."),
        ({"depth": 20, "layers_per_skip": 4}, "12n+2; the nearest are 14 and 26."),
    ],
)
def test_a_depth_that_does_not_exist_names_the_nearest(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError) as caught:
        mr.models.cifar_resnet(**options)
    assert str(caught.value).startswith(f"Depth {options['depth']} does not exist")
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("block", "layers"), [("basic", 1), ("basic", 2), ("basic", 3), ("bottleneck", 3)]
)
def test_the_depths_named_as_nearest_exist(block: str, layers: int) -> None:
    for depth in range(-3, 45):
        for near in nearest_depths(depth, block, layers):
            check_depth(near, block, layers)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"block": "wide"}, "Unknown block 'wide'"),
        ({"shortcut": "D"}, "Unknown shortcut 'D': choose A, B or C"),
        ({"shortcut": "a"}, "Unknown shortcut"),
        ({"norm": "layer"}, "Unknown norm"),
        ({"width": 0}, "must be at least 1"),
        ({"in_channels": 0}, "must be at least 1"),
        ({"num_classes": 0}, "must be at least 1"),
        ({"layers_per_skip": 0}, "layers_per_skip must be at least 1, got 0"),
        ({"block": "bottleneck", "layers_per_skip": 2}, "has 3 layers"),
    ],
)
def test_settings_that_do_not_exist_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        mr.models.cifar_resnet(20, **options)


def test_a_refused_setting_draws_no_random_number() -> None:
    mr.manual_seed(0)
    before = rng.get_state()
    with pytest.raises(UsageError):
        mr.models.cifar_resnet(21)
    assert rng.get_state() == before


# --- every combination runs ---

COMBINATIONS = [
    (residual, block, preactivation, shortcut, norm, layers)
    for residual, (block, layers), preactivation, shortcut, norm in itertools.product(
        (True, False),
        (("basic", 1), ("basic", 2), ("basic", 3), ("bottleneck", 3)),
        (False, True),
        "ABC",
        ("batch", None),
    )
]


@pytest.mark.parametrize(
    ("residual", "block", "preactivation", "shortcut", "norm", "layers"), COMBINATIONS
)
def test_every_combination_runs_and_gives_every_parameter_a_gradient(
    residual: bool, block: str, preactivation: bool, shortcut: str, norm: str | None, layers: int
) -> None:
    depth = {"bottleneck": 11, "basic": 20 if layers == 3 else 8}[block]
    model = build(
        0,
        depth,
        residual=residual,
        block=block,
        preactivation=preactivation,
        shortcut=shortcut,
        norm=norm,
        layers_per_skip=layers,
        width=3,
        in_channels=2,
        num_classes=5,
    )
    logits = model(images(4, 2, 8, 8))
    assert logits.shape == (4, 5)
    F.cross_entropy(logits, mr.tensor([0, 1, 2, 3])).backward()
    blocks = model.blocks()
    assert len(blocks) * layers == depth - 2
    assert all((b.shortcut is None) != residual for b in blocks)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.shape == parameter.shape, name
        assert np.isfinite(parameter.grad.data).all(), name
        if "conv" in name and name.endswith("weight"):
            assert np.abs(parameter.grad.data).max() > 0, name


def test_the_image_is_halved_by_the_second_and_third_stage_alone() -> None:
    model = mr.models.cifar_resnet(20, width=4)
    x = F.relu(model.bn1(model.conv1(images(1, 3, 16, 12))))
    shapes = []
    for stage in (model.layer1, model.layer2, model.layer3):
        for block in stage:
            x = block(x)
            shapes.append(x.shape[1:])
    assert shapes == [(4, 16, 12)] * 3 + [(8, 8, 6)] * 3 + [(16, 4, 3)] * 3


# --- names ---


def test_parameters_have_the_names_of_torchvision() -> None:
    names = list(mr.models.cifar_resnet(8, shortcut="B", width=2).state_dict())
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = ["conv1.weight", *(f"bn1.{n}" for n in norm)]
    for stage in (1, 2, 3):
        for i in (1, 2):
            expected += [f"layer{stage}.0.conv{i}.weight"]
            expected += [f"layer{stage}.0.bn{i}.{n}" for n in norm]
        if stage > 1:
            expected += [f"layer{stage}.0.downsample.0.weight"]
            expected += [f"layer{stage}.0.downsample.1.{n}" for n in norm]
    expected += ["fc.weight", "fc.bias"]
    assert names == expected


def test_bottlenecks_have_the_names_of_torchvision() -> None:
    model = mr.models.cifar_resnet(20, block="bottleneck", shortcut="B", width=2)
    parameters = {name: p.shape for name, p in model.named_parameters()}
    assert parameters["layer1.0.conv1.weight"] == (2, 2, 1, 1)
    assert parameters["layer1.0.conv2.weight"] == (2, 2, 3, 3)
    assert parameters["layer1.0.conv3.weight"] == (8, 2, 1, 1)
    assert parameters["layer1.0.downsample.0.weight"] == (8, 2, 1, 1)
    assert parameters["layer1.1.conv1.weight"] == (2, 8, 1, 1)
    assert "layer1.1.downsample.0.weight" not in parameters
    assert parameters["layer2.0.bn3.bias"] == (16,)
    assert parameters["fc.weight"] == (10, 32)


@pytest.mark.parametrize(
    ("shortcut", "projected"),
    [("A", []), ("B", ["2.0", "3.0"]), ("C", ["1.0", "1.1", "2.0", "2.1", "3.0", "3.1"])],
)
def test_shortcuts_project_where_they_should(shortcut: str, projected: list[str]) -> None:
    model = mr.models.cifar_resnet(14, shortcut=shortcut, width=2)
    found = [n for n, _ in model.named_parameters() if n.endswith("downsample.0.weight")]
    assert found == [f"layer{place}.downsample.0.weight" for place in projected]


def test_without_norm_convolutions_have_a_bias_and_nothing_else_is_left() -> None:
    model = mr.models.cifar_resnet(8, norm=None, shortcut="B", width=2)
    names = {name for name, _ in model.named_parameters()}
    assert not any("bn" in name for name in names)
    assert not list(model.buffers())
    weights = {name for name in names if name.endswith("weight")}
    assert names - weights == {name.replace("weight", "bias") for name in weights}
    assert all(
        not module.bias.data.any() for module in model.modules() if isinstance(module, nn.Conv2d)
    )


# --- the networks of another framework ---


def golden(name: str) -> tuple[NetworkCase, Any]:
    case = GOLDENS[name]
    model = mr.models.cifar_resnet(**case.config).to("float64")
    result = model.load_state_dict(case.state)
    assert result == ([], [])
    return case, model


def close(actual: np.ndarray, expected: np.ndarray, what: str) -> None:
    size = float(np.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-11 * size, err_msg=what)


@pytest.mark.parametrize("name", GOLDENS)
def test_golden_logits_loss_gradients_and_running_statistics(name: str) -> None:
    case, model = golden(name)
    x = mr.tensor(case.input, requires_grad=True)
    logits = model(x)
    loss = F.cross_entropy(logits, mr.tensor(case.labels))
    loss.backward()
    assert logits.dtype == np.float64
    close(logits.data, case.logits, "logits")
    assert loss.item() == pytest.approx(case.loss, rel=1e-12)
    close(x.grad.data, case.input_grad, "input")
    gradients = {key: p.grad.data for key, p in model.named_parameters()}
    assert gradients.keys() == case.grads.keys()
    for key, gradient in gradients.items():
        close(gradient, case.grads[key], key)
    buffers = dict(model.named_buffers())
    assert buffers.keys() == case.buffers.keys()
    for key, buffer in buffers.items():
        close(buffer.data, case.buffers[key], key)
    close(model.eval()(mr.tensor(case.input)).data, case.eval_logits, "logits in evaluation mode")


@pytest.mark.parametrize("name", GOLDENS)
def test_golden_losses_of_three_steps_of_sgd(name: str) -> None:
    case, model = golden(name)
    optimizer = mr.optim.SGD(model.parameters(), **case.optimizer)
    x, labels = mr.tensor(case.input), mr.tensor(case.labels)
    losses = []
    for _ in range(len(case.losses)):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), labels)
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
    assert len(losses) == 4
    np.testing.assert_allclose(losses, case.losses, rtol=1e-9)


# --- weights ---


@pytest.mark.parametrize("shortcut", "ABC")
@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_plain_and_residual_of_one_seed_share_their_weights_bit_for_bit(
    shortcut: str, preactivation: bool, block: str
) -> None:
    options = dict(shortcut=shortcut, preactivation=preactivation, block=block, width=4)
    residual = build(7, 20, **options)
    after_residual = rng.get_state()
    mr.manual_seed(7)
    plain = mr.models.cifar_plain(20, **options)
    assert rng.get_state() == after_residual
    shared, own = plain.state_dict(), residual.state_dict()
    assert {n for n in own if "downsample" not in n} == set(shared)
    for name, value in shared.items():
        assert own[name].tobytes() == value.tobytes(), name


def test_post_and_pre_activation_of_one_seed_share_their_weights_too() -> None:
    post, pre = build(3, 20, width=4), build(3, 20, width=4, preactivation=True)
    convs = {n: p for n, p in post.named_parameters() if "conv" in n or "fc" in n}
    others = dict(pre.named_parameters())
    assert len(convs) == 21
    for name, parameter in convs.items():
        assert others[name].data.tobytes() == parameter.data.tobytes(), name


@pytest.mark.parametrize("depth", [8, 32])
@pytest.mark.parametrize("shortcut", "AC")
def test_a_network_moves_the_default_generator_by_one_draw(depth: int, shortcut: str) -> None:
    mr.manual_seed(5)
    rng.spawn()
    expected = rng.get_state()
    build(5, depth, shortcut=shortcut, width=2)
    assert rng.get_state() == expected


def test_the_seed_decides_the_weights() -> None:
    first, again, other = (build(seed, 8, width=2).state_dict() for seed in (0, 0, 1))
    assert all(first[n].tobytes() == again[n].tobytes() for n in first)
    assert all((first[n] != other[n]).all() for n in first if "conv" in n or "fc" in n)


@pytest.mark.parametrize("init_scale", [1.0, 0.5])
def test_convolutions_start_with_he_fan_out(init_scale: float) -> None:
    model = build(0, 14, width=24, shortcut="C", init_scale=init_scale)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            C_out, _, KH, KW = module.weight.shape
            expected = init_scale * math.sqrt(2.0 / (C_out * KH * KW))
            values = module.weight.data.astype(np.float64)
            bound = 4.0 / math.sqrt(2 * values.size)  # four standard errors
            assert values.std() / expected == pytest.approx(1.0, abs=bound), name
            assert abs(values.mean()) < 4 * expected / math.sqrt(values.size), name


def test_init_scale_multiplies_the_convolutions_and_nothing_else() -> None:
    one, half = (
        build(0, 8, width=2, shortcut="B"),
        build(0, 8, width=2, shortcut="B", init_scale=0.5),
    )
    for (name, a), (_, b) in zip(one.named_parameters(), half.named_parameters(), strict=True):
        convolution = "conv" in name or "downsample.0" in name
        np.testing.assert_array_equal(b.data, a.data * (0.5 if convolution else 1.0), err_msg=name)


def test_the_head_starts_even_within_one_over_the_root_of_its_inputs() -> None:
    model = build(0, 8, width=16)
    for tensor in (model.fc.weight, model.fc.bias):
        assert np.abs(tensor.data).max() <= 1 / 8
    assert model.fc.weight.data.std() == pytest.approx(1 / 8 / math.sqrt(3), rel=0.05)


# --- blocks that are the identity ---


@pytest.mark.parametrize("norm", ["batch", None])
@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_zero_init_makes_post_activation_blocks_the_identity_after_a_relu(
    block: str, norm: str | None
) -> None:
    model = build(0, 20, block=block, norm=norm, width=4, zero_init_residual=True)
    checked = 0
    for b in model.blocks():
        channels = b.conv1.weight.shape[1]
        x = F.relu(images(2, channels, 6, 6))
        expected = x if not b.changes_shape else b.downsample(x)
        np.testing.assert_array_equal(b(x).data, expected.data)
        checked += not b.changes_shape
    assert checked >= 3


@pytest.mark.parametrize("norm", ["batch", None])
def test_zero_init_makes_pre_activation_blocks_the_identity_exactly(norm: str | None) -> None:
    model = build(0, 14, norm=norm, width=4, preactivation=True, zero_init_residual=True)
    for b in model.blocks():
        if not b.changes_shape:
            x = images(2, b.conv1.weight.shape[1], 6, 6)
            assert (x.data < 0).any()
            np.testing.assert_array_equal(b(x).data, x.data)


@pytest.mark.parametrize(
    ("options", "zeroed"),
    [
        ({}, "bn2.weight"),
        ({"norm": None}, "conv2.weight"),
        ({"preactivation": True}, "conv2.weight"),
        ({"block": "bottleneck"}, "bn3.weight"),
        ({"block": "bottleneck", "preactivation": True}, "conv3.weight"),
    ],
)
def test_zero_init_zeroes_what_multiplies_the_whole_branch_and_nothing_else(
    options: dict[str, Any], zeroed: str
) -> None:
    before = build(0, 20, width=2, **options)
    after = dict(build(0, 20, width=2, zero_init_residual=True, **options).named_parameters())
    for name, parameter in before.named_parameters():
        if name.startswith("layer") and name.endswith(zeroed):
            assert parameter.data.any(), name
            assert not after[name].data.any(), name
        else:
            np.testing.assert_array_equal(after[name].data, parameter.data, err_msg=name)


def test_without_zero_init_blocks_are_not_the_identity() -> None:
    b = build(0, 8, width=4).layer1[0]
    x = F.relu(images(2, 4, 6, 6))
    assert np.abs(b(x).data - x.data).max() > 0.1


# --- shortcut A ---


def test_shortcut_a_subsamples_and_pads_zeros_behind_the_old_channels() -> None:
    x = mr.tensor(np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5))
    out = PadShortcut(3, 5, stride=2)(x).data
    assert out.shape == (2, 5, 2, 3)
    np.testing.assert_array_equal(out[:, :3], x.data[:, :, ::2, ::2])
    assert not out[:, 3:].any()


def test_shortcut_a_sends_the_gradient_back_to_the_pixels_it_read() -> None:
    x = mr.tensor(np.ones((1, 2, 3, 3)), requires_grad=True)
    PadShortcut(2, 4, stride=2)(x).sum().backward()
    read = np.zeros((3, 3))
    read[::2, ::2] = 1.0
    np.testing.assert_array_equal(x.grad.data[0], [read, read])


def test_shortcut_a_has_no_parameters() -> None:
    assert not list(PadShortcut(4, 8, 2).parameters())


@pytest.mark.parametrize("shortcut", "AB")
def test_a_post_activation_block_is_the_formula(shortcut: str) -> None:
    model = build(0, 8, width=4, shortcut=shortcut).eval()
    shake_norms(model)
    b = model.layer2[0]
    x = images(2, 4, 6, 6)
    branch = b.bn2(b.conv2(F.relu(b.bn1(b.conv1(x)))))
    skip = b.downsample(x)
    np.testing.assert_array_equal(b(x).data, F.relu(skip + branch).data)
    if shortcut == "B":
        expected = b.downsample[1](b.downsample[0](x))
        assert b.downsample[0].kernel_size == (1, 1)
        assert b.downsample[0].stride == (2, 2)
        np.testing.assert_array_equal(skip.data, expected.data)


# --- pre-activation ---


def test_the_first_pre_activation_block_has_no_norm_of_its_own() -> None:
    model = build(0, 14, width=4, preactivation=True).eval()
    shake_norms(model)
    first, second = model.layer1
    assert not hasattr(first, "bn1")
    assert isinstance(second.bn1, nn.BatchNorm2d)
    x = images(2, 4, 6, 6)
    branch = first.conv2(F.relu(first.bn2(first.conv1(x))))
    np.testing.assert_array_equal(first(x).data, (x + branch).data)


def test_a_pre_activation_block_leaves_the_skip_untouched() -> None:
    model = build(0, 14, width=4, preactivation=True).eval()
    shake_norms(model)
    b = model.layer1[1]
    x = images(2, 4, 6, 6)
    branch = b.conv2(F.relu(b.bn2(b.conv1(F.relu(b.bn1(x))))))
    np.testing.assert_array_equal(b(x).data, (x + branch).data)
    assert b.pre(x) is x
    assert b.downsample is None


@pytest.mark.parametrize("shortcut", "AB")
def test_branch_and_shortcut_share_the_pre_activation_where_dimensions_change(
    shortcut: str,
) -> None:
    model = build(0, 14, width=4, preactivation=True, shortcut=shortcut).eval()
    shake_norms(model)
    b = model.layer2[0]
    assert isinstance(b, PreActivationBlock)
    x = images(2, 4, 6, 6)
    u = F.relu(b.bn1(x))
    branch = b.conv2(F.relu(b.bn2(b.conv1(u))))
    np.testing.assert_array_equal(b(x).data, (b.downsample(u) + branch).data)
    if shortcut == "B":
        assert [type(m) for m in b.downsample] == [nn.Conv2d]


@pytest.mark.parametrize("residual", [True, False])
def test_a_projection_without_change_of_shape_reads_the_pre_activation_too(residual: bool) -> None:
    options = dict(width=4, preactivation=True, shortcut="C", residual=residual)
    model = build(0, 14, **options).eval()
    shake_norms(model)
    b = model.layer1[1]
    x = images(2, 4, 6, 6)
    u = F.relu(b.bn1(x))
    np.testing.assert_array_equal(b.pre(x).data, u.data)
    branch = b.conv2(F.relu(b.bn2(b.conv1(u))))
    expected = b.downsample(u) + branch if residual else branch
    np.testing.assert_array_equal(b(x).data, expected.data)
    first = model.layer1[0]  # the stem has activated its input
    assert first.pre(x) is x


def test_init_scale_goes_through_the_door_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    scaled: list[Any] = []
    opened = guard.writable
    monkeypatch.setattr(guard, "writable", lambda array: scaled.append(array) or opened(array))
    plain = len(scaled), build(0, 8, width=2), len(scaled)
    model = build(0, 8, width=2, init_scale=0.5)
    convolutions = sum(isinstance(m, nn.Conv2d) for m in model.modules())
    assert len(scaled) - plain[2] == plain[2] - plain[0] + convolutions


def test_a_pre_activation_network_normalises_and_activates_before_its_head() -> None:
    model = build(0, 8, width=4, preactivation=True).eval()
    shake_norms(model)
    x = images(2, 3, 8, 8)
    h = F.relu(model.bn1(model.conv1(x)))
    for b in model.blocks():
        h = b(h)
    h = F.relu(model.bn2(h))
    expected = model.fc(mr.tensor(h.data.mean(axis=(2, 3)))).data
    np.testing.assert_allclose(model(x).data, expected, rtol=1e-5, atol=1e-6)
    assert not hasattr(build(0, 8, width=4), "bn2")


def test_the_text_of_a_network_says_what_it_is() -> None:
    assert repr(mr.models.cifar_plain(8)).startswith("CifarResNet(plain-8\n")
    text = repr(mr.models.cifar_resnet(8, preactivation=True))
    assert text.startswith("CifarResNet(residual-8, pre-activation\n")
    assert "PadShortcut(stride=2, new_channels=16)" in text


def test_zero_init_of_a_plain_network_is_refused_because_nothing_would_pass() -> None:
    with pytest.raises(UsageError, match="needs skips"):
        mr.models.cifar_plain(8, width=2, zero_init_residual=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 20.0}, "depth must be a whole number, not 20.0"),
        ({"depth": True}, "depth must be a whole number, not True"),
        ({"width": 2.5}, "width must be a whole number, not 2.5"),
        ({"num_classes": True}, "num_classes must be a whole number, not True"),
        ({"init_scale": "a"}, "init_scale must be a number, not 'a'"),
        ({"layers_per_skip": 1.5}, "layers_per_skip must be a whole number, not 1.5"),
    ],
)
def test_sizes_that_are_no_numbers_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        mr.models.cifar_resnet(**{"depth": 8, "width": 2, **options})
    if "layers_per_skip" not in options:
        with pytest.raises(UsageError, match=message):
            mr.models.imagenet_resnet(**{"depth": 18, "width": 2, **options})


def test_sizes_may_be_numbers_of_numpy_and_are_kept_as_python_s() -> None:
    model = mr.models.cifar_resnet(np.int64(8), width=np.int32(2), init_scale=np.float32(0.5))
    kinds = {name: type(model.options[name]) for name in ("depth", "width", "init_scale")}
    assert kinds == {"depth": int, "width": int, "init_scale": float}
