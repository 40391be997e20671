"""The ImageNet family: torchvision's networks number for number, and the papers' sizes."""

from __future__ import annotations

import itertools
import math
from inspect import signature
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn, rng
from minires.errors import ShapeError, UsageError
from minires.models import imagenet_resnet
from tests.golden.imagenet_inputs import (
    DEPTHS,
    FILE,
    MODES,
    Run,
    digest_errors,
    digests,
    errors,
    images,
    labels,
    state,
)
from tests.golden.loading import Stored
from tests.models.imagenet_run import run

GOLDENS = {(entry["kind"], entry["mode"]): entry for entry in Stored(FILE).entries()}
PARAMETERS = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}


def build(seed: int, depth: int, **options: Any) -> Any:
    mr.manual_seed(seed)
    return imagenet_resnet(depth, **{"width": 2, "num_classes": 3} | options)


def draw(*shape: int) -> mr.Tensor:
    return mr.tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


# --- torchvision's networks ---


def both_runs(depth: int, mode: str, *dtypes: str) -> list[Run]:
    network = imagenet_resnet(depth)
    weights = state({name: array.shape for name, array in network.state_dict().items()})
    what = images(depth), labels(depth), mode
    return [run(network, weights, *what, dtype) for dtype in dtypes]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("depth", DEPTHS)
def test_float64_is_torchvision_s_within_1e_8(depth: int, mode: str) -> None:
    """Outputs, every gradient, running statistics; loss and outputs after three steps of SGD.

    Norms and projections within 1e-8 of the norm, values within 1e-8 of the largest of the array
    (of a gradient, or of a thousandth of the largest gradient, where that is more).
    """
    stored = Stored(FILE)
    expected = stored.arrays(GOLDENS[f"resnet{depth}", mode]["digests"])
    found = digests(both_runs(depth, mode, "float64")[0])
    assert list(found) == list(expected)
    off = digest_errors(found, expected)
    assert {name: error for name, error in off.items() if not error < 1e-8} == {}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "depth", [d if d < 101 else pytest.param(d, marks=pytest.mark.slow) for d in DEPTHS]
)
def test_float32_errs_by_at_most_three_times_what_pytorch_does(depth: int, mode: str) -> None:
    """Against float64, which is PyTorch's; never held to less than one rounding."""
    own = GOLDENS[f"resnet{depth}", mode]["own_errors"]
    exact, single = both_runs(depth, mode, "float64", "float32")
    assert {a.dtype for a in single.arrays().values()} <= {np.dtype("f4"), np.dtype("i8")}
    found = errors(single, exact)
    rounding = float(np.finfo(np.float32).eps)
    assert {n: e for n, e in found.items() if not e <= 3 * max(own[n], rounding)} == {}


@pytest.mark.parametrize("depth", PARAMETERS)
def test_parameters_are_those_of_torchvision(depth: int) -> None:
    model = imagenet_resnet(depth)
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[depth]


def test_the_goldens_name_their_versions() -> None:
    assert Stored(FILE).manifest["versions"]["torch"].startswith("2.13.0")
    assert set(GOLDENS) == {(f"resnet{d}", mode) for d in DEPTHS for mode in MODES}


@pytest.mark.parametrize(("depth", "convolutions"), [(18, 2), (50, 3)])
def test_state_has_the_names_and_the_order_of_torchvision(depth: int, convolutions: int) -> None:
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = ["conv1.weight", *(f"bn1.{n}" for n in norm)]
    for stage, blocks in enumerate((2, 2, 2, 2) if depth == 18 else (3, 4, 6, 3), 1):
        for block in range(blocks):
            place = f"layer{stage}.{block}"
            for i in range(1, convolutions + 1):
                expected += [f"{place}.conv{i}.weight", *(f"{place}.bn{i}.{n}" for n in norm)]
            if block == 0 and (stage > 1 or depth == 50):
                expected += [f"{place}.downsample.0.weight"]
                expected += [f"{place}.downsample.1.{n}" for n in norm]
    assert list(build(0, depth).state_dict()) == [*expected, "fc.weight", "fc.bias"]


# --- the papers' sizes ---


@pytest.mark.parametrize(
    ("depth", "billions", "measured"),
    # "FLOPs" of He et al. 2015, table 1, are multiply-adds; its bottlenecks have the stride on the
    # first 1x1, which saves what the 1x1 at full size costs more here: 0.23 billion.
    [
        (18, 1.8, 1_814_073_344),
        (34, 3.6, 3_663_761_408),
        (50, 3.8, 4_089_184_256),
        (101, 7.6, 7_801_405_440),
        (152, 11.3, 11_513_626_624),
    ],
)
def test_multiply_adds_are_those_of_he_et_al_2015_table_1(
    depth: int, billions: float, measured: int
) -> None:
    found = mr.models.summary(imagenet_resnet(depth), (3, 224, 224)).multiply_adds
    assert found == measured
    if depth >= 50:
        for pixels, channels, inner in ((56, 256, 128), (28, 512, 256), (14, 1024, 512)):
            found -= 3 * pixels**2 * channels * inner // 4
    assert found / 1e9 == pytest.approx(billions, abs=0.07)


def test_plain_34_has_the_multiply_adds_of_figure_3() -> None:
    model = mr.models.plain34()
    assert not [n for n, _ in model.named_parameters() if "downsample" in n]
    found = mr.models.summary(model, (3, 224, 224))
    assert found.multiply_adds == 3_644_493_824  # "3.6 billion"
    shapes = {layer.name: layer.output_shape[1:] for layer in found.layers}
    assert shapes["conv1"] == (64, 112, 112)
    assert shapes["maxpool"] == shapes["layer1.2.bn2"] == (64, 56, 56)
    assert shapes["layer4.2.bn2"] == (512, 7, 7)


def test_a_network_of_bottlenecks_halves_in_its_3x3_convolutions() -> None:
    strides = {
        name: module.stride
        for name, module in build(0, 50).named_modules()
        if isinstance(module, nn.Conv2d) and module.stride != (1, 1)
    }
    halved = [f"layer{i}.0.{part}" for i in (2, 3, 4) for part in ("conv2", "downsample.0")]
    assert strides == dict.fromkeys(["conv1", *halved], (2, 2))


@pytest.mark.parametrize(
    ("function", "depth", "residual"),
    [(f"resnet{d}", d, True) for d in PARAMETERS]
    + [("plain18", 18, False), ("plain34", 34, False)],
)
def test_each_network_has_a_function_that_takes_the_options(
    function: str, depth: int, residual: bool
) -> None:
    model = getattr(mr.models, function)(width=1, num_classes=4, in_channels=2)
    assert (model.depth, model.residual) == (depth, residual)
    assert model.eval()(draw(1, 2, 40, 33)).shape == (1, 4)
    convolutions = sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules())
    projections = sum("downsample.0" in n for n, _ in model.named_parameters())
    assert convolutions - projections == depth


def test_resnet_200_has_the_blocks_of_he_et_al_2016_table_5() -> None:
    model = build(0, 200, preactivation=True, width=1)
    assert [len(list(stage.children())) for stage in model.stages()] == [3, 24, 36, 3]


# --- options ---


COMBINATIONS = list(
    itertools.product((18, 50), (True, False), (False, True), "ABC", ("batch", None))
)


@pytest.mark.parametrize(("depth", "residual", "preactivation", "shortcut", "norm"), COMBINATIONS)
def test_every_combination_runs_and_gives_every_parameter_a_gradient(
    depth: int, residual: bool, preactivation: bool, shortcut: str, norm: str | None
) -> None:
    model = build(
        0, depth, residual=residual, preactivation=preactivation, shortcut=shortcut, norm=norm
    )
    logits = model(draw(4, 3, 32, 32))
    assert logits.shape == (4, 3)
    F.cross_entropy(logits, mr.tensor([0, 1, 2, 0])).backward()
    assert all((b.shortcut is None) != residual for b in model.blocks())
    for name, parameter in model.named_parameters():
        assert np.isfinite(parameter.grad.data).all(), name


@pytest.mark.parametrize(
    "options",
    [
        {"aux_heads": 2},
        {"order": "relu-before-addition"},
        {"skip": "exclusive-gating", "gate_bias": -3.0},
        {"branch_scale": 0.0, "norm": None},
        {"stochastic_depth": 0.5},
        {"fixup": True, "norm": None},
    ],
    ids=lambda options: next(iter(options)),
)
@pytest.mark.parametrize("depth", [18, 50])
def test_the_variants_of_the_cifar_family_are_there(depth: int, options: dict[str, Any]) -> None:
    model = build(0, depth, **options)
    out = model(draw(4, 3, 32, 32))
    assert (out[0] if "aux_heads" in options else out).shape == (4, 3)
    assert options.items() <= model.options.items()
    for name in options.keys() - {"aux_heads"}:
        assert getattr(model.block_options, name) == options[name]


def test_both_families_have_the_same_options_but_for_the_layers_of_a_skip() -> None:
    ours, cifar = (signature(f).parameters for f in (imagenet_resnet, mr.models.cifar_resnet))
    assert set(cifar) - set(ours) == {"layers_per_skip"}
    assert set(ours) <= set(cifar)
    assert list(build(0, 18).options) == list(ours)


@pytest.mark.parametrize("size", [1, 7, 32, 33])
def test_small_images_run_in_evaluation_mode(size: int) -> None:
    assert build(0, 18).eval()(draw(1, 3, size, size)).shape == (1, 3)


def test_one_small_image_in_training_mode_says_what_to_do() -> None:
    with pytest.raises(ShapeError, match=r"Use a larger batch, or model\.eval\(\)"):
        build(0, 18)(draw(1, 3, 32, 32))


def test_a_pre_activation_network_norms_where_the_authors_do() -> None:
    """BN-ReLU after the stem, none in the first block before it, one more before the head."""
    model = build(0, 50, preactivation=True).eval()
    first, second = list(model.layer1)[:2]
    assert not hasattr(first, "bn1")
    assert [type(m) for m in first.downsample] == [nn.Conv2d]
    assert second.bn1.num_features == 8
    x = draw(2, 3, 64, 64)
    h = model.maxpool(F.relu(model.bn1(model.conv1(x))))
    for block in model.blocks():
        h = block(h)
    expected = model.fc(F.relu(model.bn2(h)).mean(dim=(2, 3))).data
    np.testing.assert_allclose(model(x).data, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize("depth", [18, 50])
def test_plain_and_residual_of_one_seed_share_their_weights(
    depth: int, preactivation: bool
) -> None:
    own = build(7, depth, preactivation=preactivation).state_dict()
    after = rng.get_state()
    shared = build(7, depth, preactivation=preactivation, residual=False).state_dict()
    assert rng.get_state() == after
    assert {n for n in own if "downsample" not in n} == set(shared)
    assert all(own[name].tobytes() == value.tobytes() for name, value in shared.items())


def test_weights_start_as_torchvision_s_do() -> None:
    model = build(0, 50, width=16, num_classes=1000)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            C_out, _, KH, KW = module.weight.shape
            values = module.weight.data.astype(np.float64)
            expected = math.sqrt(2 / (C_out * KH * KW))
            bound = 4.5 / math.sqrt(2 * values.size)
            assert values.std() / expected == pytest.approx(1, abs=bound), name
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight.data == 1).all(), name
            assert not module.bias.data.any(), name
    bound = 512**-0.5
    for tensor in (model.fc.weight, model.fc.bias):
        assert 0.95 * bound < np.abs(tensor.data).max() <= bound


def test_zero_init_residual_zeroes_the_last_scale_of_each_block() -> None:
    model = build(0, 50, zero_init_residual=True)
    zero = [n for n, p in model.named_parameters() if n.endswith("weight") and not p.data.any()]
    places = [f"layer{s}.{b}" for s, n in enumerate((3, 4, 6, 3), 1) for b in range(n)]
    assert zero == [f"{place}.bn3.weight" for place in places]


@pytest.mark.parametrize(
    ("depth", "options", "message"),
    [
        (20, {}, "Depth 20 does not exist in the ImageNet family: choose one of 18, 34, 50"),
        (18, {"block": "bottleneck"}, "depth 18 has block='basic'. Leave block out."),
        (50, {"block": "basic"}, "depth 50 has block='bottleneck'"),
        (18, {"shortcut": "D"}, "Unknown shortcut 'D'"),
        (18, {"norm": "layer"}, "Unknown norm"),
        (18, {"width": 0}, "must be at least 1"),
        (18, {"in_channels": 0}, "must be at least 1"),
        (18, {"num_classes": 0}, "must be at least 1"),
        (18, {"residual": False, "zero_init_residual": True}, "needs skips"),
    ],
)
def test_what_does_not_exist_is_refused_and_draws_no_number(
    depth: int, options: dict[str, Any], message: str
) -> None:
    mr.manual_seed(0)
    before = rng.get_state()
    with pytest.raises(UsageError) as caught:
        imagenet_resnet(depth, **options)
    assert message in str(caught.value)
    assert rng.get_state() == before


def test_a_block_that_goes_with_the_depth_may_be_named() -> None:
    assert build(0, 50, block="bottleneck").depth == build(0, 50).depth == 50


def test_the_text_of_a_network_says_what_it_is() -> None:
    assert repr(build(0, 18)).startswith("ImageNetResNet(residual-18\n")
