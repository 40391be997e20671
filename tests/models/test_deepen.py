"""Deeper networks by construction: the same function, and where there is none, why."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import models, nn
from minires.autograd import no_grad
from minires.errors import ContractError, UsageError
from minires.models import deepen, deepening
from minires.models.block_options import ORDERS, SKIPS
from minires.train import evaluate
from tests.flow.test_trace import picture, same

DATA = mr.data.load_digits()


@functools.cache
def digits(n: int = 48) -> tuple[mr.Tensor, mr.Tensor]:
    x, y = DATA.batch(n)
    return mr.tensor(x), mr.tensor(y)


def build(**options: Any) -> Any:
    mr.manual_seed(0)
    return models.cifar_resnet(**{"depth": 8, "width": 4, "in_channels": 1, **options})


def stack(**options: Any) -> Any:
    mr.manual_seed(0)
    sizes = dict(in_channels=64 if options.get("dense", True) else 1, num_classes=10)
    return models.stack(3, 6, kind="residual", **sizes, **options)


def imagenet(**options: Any) -> Any:
    mr.manual_seed(0)
    return models.imagenet_resnet(18, width=2, in_channels=1, num_classes=10, **options)


def train(model: Any, steps: int = 8, lr: float = 0.05) -> Any:
    """A few steps, so that no weight, scale or statistic is where it started."""
    x, y = digits()
    optimizer = mr.optim.SGD(model.train().parameters(), lr=lr, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.total_loss(F.cross_entropy, model(x), y).backward()
        optimizer.step()
    return model


def outputs(model: Any, *, training: bool) -> list[np.ndarray]:
    """All outputs in one mode, of a copy, so that the model stays as it is."""
    mr.manual_seed(3)  # dropped branches are the same ones in every call
    with no_grad():
        found = models.twin(model, 1.0).train(training)(digits()[0])
    return [t.data for t in ((found[0], *found[1]) if isinstance(found, tuple) else (found,))]


def largest_difference(model: Any, deeper: Any, *, training: bool) -> float:
    pairs = zip(outputs(deeper, training=training), outputs(model, training=training), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


# The same function in both modes: by a branch of zero, or by Dirac convolutions without batch norm.
EXACT: dict[str, Callable[[], Any]] = {
    "residual": build,
    "shortcut B": lambda: build(shortcut="B"),
    "shortcut C": lambda: build(shortcut="C"),
    "shortcut C without norm": lambda: build(shortcut="C", norm=None, init_scale=0.5),
    "without norm": lambda: build(norm=None, init_scale=0.5),
    "pre-activation": lambda: build(preactivation=True),
    "pre-activation without norm": lambda: build(preactivation=True, norm=None, init_scale=0.5),
    "bottleneck": lambda: build(depth=11, block="bottleneck"),
    "bottleneck pre-activation": lambda: build(depth=11, block="bottleneck", preactivation=True),
    "bottleneck, shortcut C": lambda: build(depth=11, block="bottleneck", shortcut="C"),
    "one layer a block": lambda: build(layers_per_skip=1),
    "auxiliary heads": lambda: build(depth=14, aux_heads=3),
    "convolution on the skip": lambda: build(skip="conv"),
    "BN after the addition": lambda: build(order="bn-after-addition"),
    "ReLU before the addition": lambda: build(order="relu-before-addition", branch_scale=1.0),
    "ReLU-only pre-activation": lambda: build(order="relu-only-preactivation"),
    "learned branch scale": lambda: build(branch_scale=0.0, norm=None),
    "Fixup": lambda: build(norm=None, fixup=True),
    "Fixup, shortcut C": lambda: build(norm=None, fixup=True, shortcut="C"),
    "stochastic depth": lambda: build(stochastic_depth=0.5),
    "plain": lambda: build(residual=False),
    "plain without norm": lambda: build(residual=False, norm=None, init_scale=0.8),
    "plain, one layer a block": lambda: build(residual=False, layers_per_skip=1),
    # Blocks that give relu(x), which changes nothing where all that follows begins with ReLU.
    "plain pre-activation without norm": lambda: build(
        depth=14, residual=False, preactivation=True, norm=None, init_scale=0.8, aux_heads=2
    ),
    "pre-activation, shortcut C, without norm": lambda: build(
        preactivation=True, shortcut="C", norm=None, init_scale=0.5
    ),
    "plain, auxiliary heads": lambda: build(depth=14, residual=False, aux_heads=2),
    "stack": stack,
    "stack without norm": lambda: stack(norm=None),
    "stack of convolutions": lambda: stack(dense=False),
    "ImageNet": imagenet,
    "ImageNet, plain": lambda: imagenet(residual=False),
}


@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
def test_the_deeper_network_is_the_same_function_in_both_modes(make: Callable[[], Any]) -> None:
    model = train(make())
    before = picture(model)
    deeper = deepen(model, 2)
    same(before, picture(model) | {"generator": before["generator"]})  # one draw is made
    assert type(deeper) is type(model)
    blocks = len(deeper.blocks()) - len(model.blocks())
    assert blocks == 2 * (1 if isinstance(model, models.Stack) else len(list(model.stages())))
    assert deeper.depth - model.depth == blocks * getattr(model.blocks()[0], "depth", 1)
    assert f"-{deeper.depth}" in repr(deeper)
    for training in (False, True):
        assert largest_difference(model, deeper, training=training) <= 1e-6


BITS = [name for name in EXACT if "C" not in name and "plain" not in name and "BN" not in name]


@pytest.mark.parametrize("name", BITS)
def test_a_branch_of_zero_gives_the_same_bits(name: str) -> None:
    model = train(EXACT[name]()).to("float64")
    deeper = deepen(model, 1)
    assert {p.dtype for p in deeper.parameters()} == {np.dtype("float64")}
    with no_grad():
        for training in (True, False):
            mr.manual_seed(0)
            one = nn.main_output(model.train(training)(digits()[0].to("float64")))
            mr.manual_seed(0)
            other = nn.main_output(deeper.train(training)(digits()[0].to("float64")))
            np.testing.assert_array_equal(other.data, one.data)


@pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
def test_the_blocks_that_were_put_in_learn(make: Callable[[], Any]) -> None:
    """One step changes each block; after three every convolution and linear layer has moved."""
    model = make()  # not Fixup's classifier of zero, which gives no gradient to what is before it
    if getattr(model, "block_options", None) is not None and model.block_options.fixup:
        train(model, 2)
    deeper = deepen(model, 1).train()
    names = {n for n, _ in model.named_parameters()}
    new = [n for n, _ in deeper.named_parameters() if n not in names]
    assert new
    parameters = dict(deeper.named_parameters())  # changed in place by the optimiser
    before = {n: parameters[n].data.copy() for n in new}

    def changed() -> set[str]:
        return {n for n in new if not np.array_equal(before[n], parameters[n].data)}

    def blocks_of(names: Any) -> set[str]:
        return {".".join(name.split(".")[:2]) for name in names}

    train(deeper, 1)
    assert blocks_of(changed()) == blocks_of(new)
    train(deeper, 2)
    assert {n for n in new if parameters[n].ndim >= 2} <= changed()


def test_the_loss_on_digits_is_that_of_the_shallow_network_and_then_falls() -> None:
    for options in ({}, {"residual": False}):
        model = train(build(**options), 30)
        deeper = deepen(model, 3)
        shallow, deep = (evaluate(network, DATA.train) for network in (model, deeper))
        assert deep.loss == pytest.approx(shallow.loss, abs=1e-6)
        assert deep.error == shallow.error  # equal predictions
        x, y = digits()
        before = float(F.cross_entropy(model.train()(x), y))
        train(deeper, 10, lr=0.02)
        assert float(F.cross_entropy(deeper(x), y)) < before


# --- batch norm in the way ---

IN_THE_WAY: dict[str, dict[str, Any]] = {
    "plain": {"residual": False},
    "shortcut C": {"shortcut": "C"},
    "convolution on the skip": {"skip": "conv"},
    "BN after the addition": {"order": "bn-after-addition"},
    "BN after the addition, shortcut C": {"order": "bn-after-addition", "shortcut": "C"},
    "ReLU before the addition, shortcut C": {
        "order": "relu-before-addition",
        "branch_scale": 1.0,
        "shortcut": "C",
    },
    "plain, auxiliary heads": {"residual": False, "depth": 14, "aux_heads": 2},
}


@pytest.mark.parametrize("options", IN_THE_WAY.values(), ids=IN_THE_WAY)
def test_calibrated_batch_norm_is_neutral_in_evaluation_and_on_its_own_batch(
    options: dict[str, Any],
) -> None:
    model = train(build(**options))
    deeper = deepen(model, 2, identity="calibrated", data=digits()[0])
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in deeper.modules())
    assert norms > sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert largest_difference(model, deeper, training=False) <= 1e-5
    assert largest_difference(model, deeper, training=True) <= 1e-4  # the batch it was made on
    without = deepen(model, 2)
    added = [m for b in without.blocks() for m in b.modules() if isinstance(m, nn.BatchNorm2d)]
    old = [m for b in model.blocks() for m in b.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(added) == len(old)  # none was put in


def test_calibration_measures_what_the_stage_gives_in_training_mode() -> None:
    model = train(build(residual=False))
    given: list[np.ndarray] = []
    watched = models.twin(model, 1.0).train()
    watched.layer2.register_forward_hook(lambda m, i, out: given.append(out.data.astype(float)))
    batches = [digits()[0][:16], digits()[0][16:]]
    with no_grad():
        for batch in batches:
            watched(batch)
    block = deepen(model, 1, identity="calibrated", data=batches).layer2[-1]
    mean = (given[0].mean((0, 2, 3)) * 16 + given[1].mean((0, 2, 3)) * 32) / 48
    var = (given[0].var((0, 2, 3)) * 16 + given[1].var((0, 2, 3)) * 32) / 48
    for bn in (block.bn1, block.bn2):
        np.testing.assert_allclose(bn.running_mean.data, mean, rtol=1e-6)
        np.testing.assert_allclose(bn.running_var.data, var, rtol=1e-6)
        np.testing.assert_allclose(bn.weight.data, np.sqrt(var + bn.eps), rtol=1e-6)
        np.testing.assert_allclose(bn.bias.data, mean, rtol=1e-6)


def test_calibration_draws_no_random_numbers_of_its_own() -> None:
    model = build(shortcut="C", stochastic_depth=0.5)  # which draws in training mode
    draws = []
    for how in ({}, {"identity": "calibrated", "data": digits()[0]}):
        mr.manual_seed(5)
        deepen(model, 1, **how)
        draws.append(mr.randn(3).data)
    np.testing.assert_array_equal(*draws)


def test_calibration_runs_all_branches_and_the_new_ones_are_never_dropped() -> None:
    model = train(build(shortcut="C"))
    thinned = models.twin(model, 1.0)
    for block in thinned.blocks():
        block.survival_probability = 0.3
    one, other = (deepen(m, 1, identity="calibrated", data=digits()[0]) for m in (model, thinned))
    for name, buffer in one.named_buffers():
        if name.endswith("downsample.1.running_mean"):
            np.testing.assert_array_equal(other.state_dict()[name], buffer.data)
    assert [b.survival_probability for b in other.blocks()] == [0.3, 1.0] * 3


def test_data_may_be_an_array_batches_or_a_loader_with_labels() -> None:
    model = train(build(residual=False))
    x, y = digits()
    loader = mr.data.DataLoader((x.data, y.data), batch_size=48)
    made = [
        deepen(model, 1, identity="calibrated", data=data).layer3[-1].bn1.running_mean.data
        for data in (x, x.data, [x], (x, y), [(x, y)], loader, iter([x.data]))
    ]
    for found in made[1:]:
        np.testing.assert_array_equal(found, made[0])
    with pytest.raises(UsageError, match="no batches"):
        deepen(model, 1, identity="calibrated", data=[])


def test_the_report_shows_the_jump_in_training_mode_and_leaves_both_networks() -> None:
    model = train(build(residual=False))
    x, y = digits()
    deeper = deepen(model, 2, identity="calibrated", data=x[:12])
    pictures = [picture(model), picture(deeper)]
    found = deepening(model, deeper, x, y)
    for before, network in zip(pictures, (model, deeper), strict=True):
        same(before, picture(network))
    assert found.depths == (8, 20)
    assert found.evaluation <= 1e-5
    assert found.training > 1e-3  # other images than those it was calibrated on
    expected = largest_difference(model, deeper, training=True)
    assert found.training == pytest.approx(expected, rel=1e-5)
    with no_grad():
        losses = [float(F.cross_entropy(n.eval()(x), y)) for n in (model, deeper)]
    assert found.evaluation_loss == pytest.approx(losses)
    assert found.training_loss[0] != found.training_loss[1]
    assert "from 8 to 20 layers" in str(found)
    assert str(found).count("outputs differ by") == 2


# --- what the deeper network says of itself ---

REBUILT: dict[str, tuple[Callable[[], Any], Any, dict[str, Any]]] = {
    "residual": (build, 1, {}),
    "plain without norm": (lambda: build(residual=False, norm=None), 2, {}),
    "plain, calibrated": (
        lambda: build(residual=False),
        1,
        {"identity": "calibrated", "data": digits()[0]},
    ),
    "bottleneck": (lambda: build(depth=11, block="bottleneck"), 1, {}),
    "one layer a block, two of them": (lambda: build(layers_per_skip=1), 2, {}),
    "ImageNet, 18 to 34": (imagenet, (1, 2, 4, 1), {}),
    "learned branch scale": (lambda: build(branch_scale=0.0), 1, {}),
    "Fixup": (lambda: build(norm=None, fixup=True), 1, {}),
    "a head in the middle": (lambda: build(aux_heads=1, zero_init_residual=True), 1, {}),
}


@pytest.mark.parametrize(("make", "blocks", "how"), REBUILT.values(), ids=REBUILT)
def test_options_build_the_deeper_network_again(
    make: Callable[[], Any], blocks: Any, how: dict[str, Any]
) -> None:
    model = train(make(), 2)
    deeper = deepen(model, blocks, **how)
    assert deeper.options["depth"] == deeper.depth
    again = models.rebuild(models.describe(deeper))
    again.load_state_dict(deeper.state_dict())
    assert repr(again) == repr(deeper)
    for training in (True, False):
        for one, two in zip(
            outputs(again, training=training), outputs(deeper, training=training), strict=True
        ):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("make", "blocks"),
    [
        (build, (3, 0, 0)),  # 14 layers, and the family has 2, 2 and 2 blocks
        (lambda: build(layers_per_skip=1), 1),  # 11 layers, and the family has 6n+2
        (lambda: build(residual=False), 1),  # batch norm in some blocks only
        (lambda: build(stochastic_depth=0.5), 1),  # each block's probability is by its place
        (imagenet, 1),
        (lambda: build(depth=14, aux_heads=2), 1),  # behind 2 and 4 of 6; of 9 it would be 3 and 6
    ],
    ids=[
        "other lengths",
        "no such depth",
        "some norms",
        "stochastic depth",
        "no such layout",
        "heads",
    ],
)
def test_a_network_that_no_options_build_has_none(make: Callable[[], Any], blocks: Any) -> None:
    deeper = deepen(make(), blocks)
    assert deeper.options is None
    with pytest.raises(UsageError, match="does not know how it was built"):
        models.describe(deeper)
    twice = deepen(deeper, 1)  # and it can be made deeper still
    assert largest_difference(deeper, twice, training=False) <= 1e-6


def test_each_stage_gets_its_number_of_blocks_at_its_end() -> None:
    model = build(depth=14)
    deeper = deepen(model, [2, 0, 1])
    assert [len(stage) for stage in deeper.stages()] == [4, 2, 3]
    assert deeper.depth == 14 + 6
    own, other = model.state_dict(), deeper.state_dict()
    assert {name.rsplit(".", 2)[0] for name in other if name not in own} == {
        "layer1.2",
        "layer1.3",
        "layer3.2",
    }
    for name, array in own.items():
        np.testing.assert_array_equal(other[name], array, err_msg=name)


def test_heads_stay_behind_their_blocks() -> None:
    deeper = deepen(build(depth=20, aux_heads=8), (1, 0, 2))
    # Behind blocks 1 to 8 of 9; one was put in behind 3, none behind 6.
    assert deeper.aux_after == (1, 2, 3, 5, 6, 7, 8, 9)


def test_new_weights_are_he_s_from_one_draw_of_the_default_generator() -> None:
    model = build(width=32)
    mr.manual_seed(7)
    one = deepen(model, 2)
    after = mr.randn(1).data
    mr.manual_seed(7)
    other = deepen(model, 2)
    mr.manual_seed(7)
    mr.models.cifar_resnet(8, width=2)
    np.testing.assert_array_equal(mr.randn(1).data, after)
    block, fan_out = one.layer3[-1], 128 * 9
    weight = block.conv1.weight.data
    np.testing.assert_array_equal(weight, other.layer3[-1].conv1.weight.data)
    assert not np.array_equal(weight, one.layer3[-2].conv1.weight.data)
    assert weight.std() == pytest.approx((2 / fan_out) ** 0.5, rel=0.02)
    fixed = deepen(build(width=32, norm=None, fixup=True), 2)  # 9 blocks of 2 layers
    scaled = fixed.layer3[-1].conv1.weight.data.std()
    assert scaled == pytest.approx((2 / fan_out) ** 0.5 * 9**-0.5, rel=0.02)


def test_the_mode_comes_along() -> None:
    for training in (True, False):
        deeper = deepen(build().train(training), 1)
        assert {module.training for module in deeper.modules()} == {training}


# --- where there is no identity ---

REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "plain pre-activation": (
        lambda: build(residual=False, preactivation=True),
        "no plain block that begins with ReLU is the identity",
    ),
    "plain pre-activation, and why batch norm matters": (
        lambda: build(residual=False, preactivation=True),
        "A batch norm before that ReLU sees the difference.",
    ),
    "plain ReLU-only": (
        lambda: build(residual=False, order="relu-only-preactivation"),
        "no plain block that begins with ReLU",
    ),
    "plain stack": (lambda: models.stack(3, 4), "no plain block that begins with ReLU"),
    "plain bottleneck": (
        lambda: build(depth=11, residual=False, block="bottleneck"),
        "no plain bottleneck is the identity",
    ),
    "pre-activation, shortcut C": (
        lambda: build(preactivation=True, shortcut="C"),
        "no pre-activation block with a projection",
    ),
    "ReLU before the addition": (
        lambda: build(order="relu-before-addition"),
        "a branch that is zero can never learn",
    ),
    "scaled skip": (lambda: build(skip="constant-scaling"), "with skip='constant-scaling'"),
    "gated skip": (lambda: build(skip="shortcut-only-gating"), "not the identity"),
    "dropped skip": (lambda: build(skip="dropout"), "not the identity"),
}


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)
def test_where_neither_a_zero_branch_nor_dirac_will_do_the_error_says_why(
    make: Callable[[], Any], reason: str
) -> None:
    model = make()
    before = picture(model)
    with pytest.raises(ContractError, match=r"^deepen: ") as caught:
        deepen(model, 1)
    assert reason in str(caught.value)
    same(before, picture(model))


def jacobian(block: Any, x: np.ndarray) -> np.ndarray:
    """d block(x) / d x of one sample, by central differences in float64."""
    columns = []
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = 1e-6
        step = step.reshape(x.shape)
        with no_grad():
            rise = block(mr.tensor(x + step)).data - block(mr.tensor(x - step)).data
        columns.append(rise.ravel() / 2e-6)
    return np.array(columns).T


def test_the_rank_of_a_plain_bottleneck_is_a_quarter_at_most() -> None:
    """y depends on x by way of C/4 numbers a pixel, and the identity has rank C a pixel."""
    model = build(depth=20, width=2, residual=False, block="bottleneck")
    block = model.layer1[1].to("float64").eval()
    x = np.abs(np.random.default_rng(0).standard_normal((1, 8, 3, 3)))
    whole = 8 * 9
    rank = np.linalg.matrix_rank(jacobian(block, x), tol=1e-7)
    assert 0 < rank <= whole // 4
    dirac = deepen(build(width=8, residual=False), 1).layer1[-1].to("float64").eval()
    np.testing.assert_allclose(jacobian(dirac, x), np.eye(whole), atol=1e-8)


@pytest.mark.parametrize(
    "options",
    [
        {"residual": False, "norm": None, "preactivation": True},
        {"residual": False, "preactivation": True},
        {"residual": False, "order": "relu-only-preactivation"},
        {"shortcut": "C", "preactivation": True},
    ],
    ids=["plain, no norm", "plain", "ReLU-only", "shortcut C"],
)
def test_what_begins_with_relu_forgets_what_is_below_zero(options: dict[str, Any]) -> None:
    """Two different inputs with one output: whatever the weights, that is not the identity."""
    block = train(build(depth=14, **options)).layer1[1].eval()
    shift = 0.0
    if options.get("norm", "batch") and options.get("preactivation"):  # where bn1 gives zero
        bn = block.bn1
        std = np.sqrt(bn.running_var.data + bn.eps)
        shift = bn.running_mean.data - bn.bias.data / bn.weight.data * std
        assert (bn.weight.data > 0).all()
    draw = np.random.default_rng(0)
    one, other = (
        (shift - draw.uniform(0.1, 2.0, (1, 5, 5, 4))).transpose(0, 3, 1, 2).astype(np.float32)
        for _ in range(2)
    )
    with no_grad():
        y, z = (block(mr.tensor(x)).data for x in (one, other))
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(y, z)


def test_a_plain_block_that_ends_with_weights_cannot_give_x_and_minus_x() -> None:
    """Also where batch norm lifts x above zero: y = W h, h >= 0.

    If the square W gives every x it is invertible, and then h = W^-1 y is the only one: for y = x
    and for y = -x both to be from h >= 0, W^-1 x must be >= 0 and <= 0.
    """
    model = build(depth=14, residual=False, preactivation=True, width=2).to("float64")
    conv = model.layer1[1].conv2
    impulses = mr.tensor(np.eye(2 * 9).reshape(18, 2, 3, 3))
    with no_grad():
        W = conv(impulses).data.reshape(18, 18).T
    assert np.linalg.matrix_rank(W) == 18
    for x in np.random.default_rng(0).standard_normal((20, 18)):
        needed = np.linalg.solve(W, x)
        assert (needed < 0).any() or (-needed < 0).any()
        assert not ((needed >= 0).all() and (-needed >= 0).all())


CHOICES: dict[str, tuple[Any, ...]] = {
    "block": ("basic", "bottleneck"),
    "order": ORDERS,
    "shortcut": ("A", "C"),
    "norm": ("batch", None),
    "residual": (True, False),
    "skip": SKIPS,
    "branch_scale": (None, 0.5),
    "fixup": (False, True),
}


@pytest.mark.parametrize("order", ORDERS)
def test_whatever_the_options_the_deeper_network_is_the_same_or_refused(order: str) -> None:
    same = refused = 0
    for values in itertools.product(*(CHOICES | {"order": (order,)}).values()):
        options = dict(zip(CHOICES, values, strict=True))
        depth = 11 if options["block"] == "bottleneck" else 8
        try:
            model = build(depth=depth, width=2, init_scale=0.5, **options)
        except UsageError:
            continue  # they do not go together
        shake(model)
        try:
            deeper = deepen(model, (1, 0, 1))
        except ContractError:
            refused += 1
            continue
        same += 1
        for training in (False, True):
            off = largest_difference(model, deeper, training=training)
            assert off <= 1e-5, (options, training)
    assert same >= 4
    assert refused or order == "bn-after-addition"


def shake(model: Any) -> None:
    """No parameter where it started."""
    draw = np.random.default_rng(1)
    for parameter in model.parameters():
        parameter.data[...] += draw.normal(0.0, 0.1, parameter.shape).astype(np.float32)


# --- bad use ---


@pytest.mark.parametrize(
    "blocks",
    [0, -1, (1, 1), (1, 1, 1, 1), (0, 0, 0), (1, -1, 1), (), 1.5, "1", True, None, (1.5,) * 3],
)
def test_numbers_of_blocks_that_make_no_sense_are_refused(blocks: Any) -> None:
    with pytest.raises(UsageError, match="deepen: blocks"):
        deepen(build(), blocks)


def test_settings_that_make_no_sense_are_refused() -> None:
    plain = build(residual=False)
    with pytest.raises(UsageError, match="unknown identity 'norm'; choose 'without-norm'"):
        deepen(plain, 1, identity="norm")
    with pytest.raises(UsageError, match="measures batch norm's statistics on data"):
        deepen(plain, 1, identity="calibrated")
    with pytest.raises(UsageError, match="give both"):
        deepen(plain, 1, data=digits()[0])
    with pytest.raises(ContractError, match="deepen: a Linear has no stages"):
        deepen(nn.Linear(2, 2), 1)
