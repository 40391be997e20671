"""Variants of the block: learned branch scales, stochastic depth, and what goes with what."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import flow, nn, rng
from minires.check import gradcheck
from minires.errors import UsageError
from minires.flow.untouched import untouched
from minires.models import twin
from tests.flow.test_trace import make_batch, picture, same
from tests.models import formulas
from tests.models.test_orders import build, images

VARIANTS: dict[str, dict[str, Any]] = {
    "constant scaling": {"skip": "constant-scaling"},
    "constant scaling of the skip": {"skip": "constant-scaling-skip"},
    "exclusive gating": {"skip": "exclusive-gating", "gate_bias": 0.0},
    "shortcut-only gating": {"skip": "shortcut-only-gating", "gate_bias": 0.0},
    "conv": {"skip": "conv"},
    "dropout": {"skip": "dropout"},
    "BN after addition": {"order": "bn-after-addition"},
    "ReLU before addition": {"order": "relu-before-addition"},
    "ReLU-only pre-activation": {"order": "relu-only-preactivation"},
    "SkipInit": {"branch_scale": 0.0, "norm": None},
    "branch scale": {"branch_scale": 0.7, "preactivation": True},
    "stochastic depth": {"stochastic_depth": 0.3},
    "Fixup": {"fixup": True, "norm": None},
}


def small(depth: int = 14, **options: Any) -> Any:
    mr.manual_seed(0)
    settings = {"width": 2, "in_channels": 1, "num_classes": 3, **options}
    return mr.models.cifar_resnet(depth, **settings)


# --- a learned scale of the branch ---


@pytest.mark.parametrize("order", ["original", "relu-before-addition", "full-preactivation"])
def test_a_branch_scale_is_a_learned_scalar_in_every_block(order: str) -> None:
    model = build(order=order, branch_scale=0.7, norm=None)
    names = [n for n, _ in model.named_parameters() if n.endswith("branch_scale")]
    assert len(names) == len(model.blocks()) == 6
    assert all(b.branch_scale.shape == (1,) for b in model.blocks())
    x = images(3, 3, 8, 8)
    expected = formulas.network(x, formulas.arrays(model), order=order)
    np.testing.assert_allclose(model(mr.tensor(x)).data, expected, rtol=1e-9)
    gradcheck(model.layer1[1], mr.tensor(images(2, 2, 4, 4)), directions=3)


def test_from_zero_on_every_block_is_its_shortcut_and_only_the_scales_learn_at_first() -> None:
    model = small(branch_scale=0.0, norm=None)
    for block in model.blocks():
        x = F.relu(mr.randn(2, block.conv1.weight.shape[1], 4, 4))
        expected = x if block.downsample is None else block.downsample(x)
        np.testing.assert_array_equal(block(x).data, expected.data)
    x, y = make_batch()
    F.cross_entropy(model(mr.tensor(x)), mr.tensor(y)).backward()
    for name, parameter in model.named_parameters():
        if name.startswith("layer"):
            assert parameter.grad.data.any() == name.endswith("branch_scale"), name


def test_with_a_branch_scale_all_else_starts_as_without() -> None:
    one, other = small(shortcut="B"), small(shortcut="B", branch_scale=0.0)
    found = dict(other.named_parameters())
    for name, parameter in one.named_parameters():
        assert found[name].data.tobytes() == parameter.data.tobytes(), name


# --- stochastic depth ---


@pytest.mark.parametrize("depth", [8, 20])
@pytest.mark.parametrize("last", [0.5, 1.0])
def test_survival_decays_linearly_to_the_last_block(depth: int, last: float) -> None:
    found = [b.survival_probability for b in small(depth, stochastic_depth=last).blocks()]
    np.testing.assert_allclose(found, np.linspace(1.0, last, len(found) + 1)[1:], rtol=1e-12)


def test_blocks_of_110_layers_survive_as_in_the_paper() -> None:
    model = small(110, stochastic_depth=0.5)
    found = [b.survival_probability for b in model.blocks()]
    assert len(found) == 54
    assert found[26] == pytest.approx(0.75)
    assert sum(found) == pytest.approx(40, abs=0.5)  # "E(L) is about 3L/4 = 40 when L = 54"


def test_in_evaluation_a_network_weighs_each_branch_by_its_survival() -> None:
    model = build(8, stochastic_depth=0.4, norm=None).eval()
    p, x = formulas.arrays(model), images(3, 3, 8, 8)
    out = formulas.relu(formulas.biased(formulas.conv(x, p["conv1.weight"]), p, "conv1"))
    for stage, survival in zip((1, 2, 3), (0.8, 0.6, 0.4), strict=True):
        own, stride = formulas.under(p, f"layer{stage}.0."), 1 + (stage > 1)
        out = formulas.block(out, own, stride=stride, survival=survival)
    expected = out.mean((2, 3)) @ p["fc.weight"].T + p["fc.bias"]
    np.testing.assert_allclose(model(mr.tensor(x)).data, expected, rtol=1e-9)


def test_dropped_branches_get_no_gradient_and_their_statistics_stay() -> None:
    model = small(stochastic_depth=0.3)
    x, y = make_batch()
    dropped = 0
    for seed in range(5):
        model.zero_grad()
        before = [b.bn1.num_batches_tracked.item() for b in model.blocks()]
        mr.manual_seed(seed)
        F.cross_entropy(model(mr.tensor(x)), mr.tensor(y)).backward()
        for b, count in zip(model.blocks(), before, strict=True):
            ran = b.bn1.num_batches_tracked.item() > count
            assert (b.conv1.weight.grad is not None) == ran
            dropped += not ran
    assert 0 < dropped < 30


def test_the_seed_decides_what_is_dropped_and_untouched_puts_the_draws_back() -> None:
    model, x = small(stochastic_depth=0.3), mr.tensor(make_batch()[0])

    def outputs() -> list[bytes]:
        return [model(x).data.tobytes() for _ in range(4)]

    mr.manual_seed(5)
    first = outputs()
    assert len(set(first)) > 1
    mr.manual_seed(5)
    state = rng.get_state()
    with untouched(model):
        outputs()
    assert rng.get_state() == state
    assert outputs() == first


# --- the instruments ---

RUN: dict[str, Callable[..., Any]] = {
    "ledger": flow.ledger,
    "path_spectrum": flow.path_spectrum,
    "sample_paths": lambda m, x, y: flow.sample_paths(m, x, y, samples=1, lengths=[1]),
    "backward_lesion": flow.backward_lesion,
    "forward_lesion": lambda m, x, y: flow.forward_lesion(m, (x, y), drop=2, permute=1, draws=1),
    "signal": flow.signal,
    "jacobian_lens": lambda m, x, y: flow.jacobian_lens(m, x[:2]),
    "check_model": flow.check_model,
}


@pytest.mark.parametrize(
    ("variant", "training"),
    [*((v, True) for v in VARIANTS), ("dropout", False), ("stochastic depth", False)],
)
def test_instruments_are_right_on_every_variant_and_leave_no_trace(
    variant: str, training: bool
) -> None:
    model = small(**VARIANTS[variant]).train(training)
    before = picture(model)
    x, y = make_batch()
    for name, run in RUN.items():
        found = run(model, x[:, :, ::2, ::2], y)
        assert found.to_dict().get("max_error", 0.0) < 1e-4, name
        same(before, picture(model))
        if name == "check_model":
            assert all(f.severity == "information" for f in found.findings), found


def test_a_ledger_of_a_pass_with_dropped_branches_shows_all_of_the_gradient_on_their_skips() -> (
    None
):
    model = small(stochastic_depth=0.3)
    model.layer1[1].survival_probability = 1e-9
    entries = {e.name: e for e in flow.ledger(model, *make_batch()).blocks}
    assert entries["layer1.1"].share == 1.0
    assert entries["layer1.1"].branch_norm == 0.0
    assert entries["layer1.1"].forward_ratio == 0.0
    model.layer1[1].survival_probability = 1 - 1e-9
    entries = {e.name: e for e in flow.ledger(model, *make_batch()).blocks}
    assert entries["layer1.1"].branch_norm > 0


def test_the_jacobian_of_a_branch_has_its_scale_in_it() -> None:
    model = small(branch_scale=1.0)
    whole = flow.jacobian_lens(model, make_batch()[0][:2])
    for block in model.blocks():
        nn.init.constant_(block.branch_scale, 0.25)
    first = flow.jacobian_lens(model, make_batch()[0][:2]).blocks[0]
    # The first block is given the same.
    assert first.branch.largest == pytest.approx(whole.blocks[0].branch.largest / 4, rel=1e-5)


def test_a_spectrum_counts_no_path_through_a_dropped_branch() -> None:
    model = small(stochastic_depth=0.3)
    for i, block in enumerate(model.blocks()):
        block.survival_probability = 1e-9 if i in (1, 4) else 1.0
    found = flow.path_spectrum(model, *make_batch())
    assert found.blocks[0].counts == (1, 4, 6, 4, 1)


def test_a_model_check_looks_at_the_branches_that_a_pass_would_drop() -> None:
    model = small(stochastic_depth=0.3)
    for block in model.blocks():
        block.survival_probability = 1e-9
    model.layer2[1].branch = lambda u: u.detach()
    found = flow.check_model(model, *make_batch()).findings
    assert ("layer2.1", "error") in {(f.layer, f.severity) for f in found}
    assert not any(f.layer.startswith("layer1") for f in found if f.severity == "error")


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_twin_at_one_is_the_network_and_at_zero_has_no_skips(variant: str) -> None:
    model = small(**VARIANTS[variant]).eval()
    x = mr.tensor(make_batch()[0])
    assert twin(model, 1.0)(x).data.tobytes() == model(x).data.tobytes()
    gone = twin(model, 0.0)
    for block in gone.blocks():
        given = mr.randn(2, block.conv1.weight.shape[1], 4, 4)
        alone = block.activation(block.branch_term(block.pre(given)))
        np.testing.assert_array_equal(block(given).data, alone.data)


# --- what goes with what ---

# Each option by itself, with what it cannot do without.
CHOICES: dict[str, list[dict[str, Any]]] = {
    "residual": [{"residual": False}],
    "block": [{"block": "bottleneck"}],
    "order": [{"order": o} for o in formulas.ORDERS],
    "preactivation": [{"preactivation": True}],
    "shortcut": [{"shortcut": "B"}, {"shortcut": "C"}],
    "skip": [{"skip": v["skip"]} for v in VARIANTS.values() if "skip" in v],
    "gate_bias": [{"gate_bias": -1.0}],
    "zero_init_residual": [{"zero_init_residual": True}],
    "norm": [{"norm": None}],
    "layers_per_skip": [{"layers_per_skip": 1}, {"layers_per_skip": 3}],
    "branch_scale": [{"branch_scale": 0.0}, {"branch_scale": 0.5}],
    "stochastic_depth": [{"stochastic_depth": 0.5}],
    "fixup": [{"fixup": True}],
    "aux_heads": [{"aux_heads": 1}],
}
PAIRS = [
    one | other
    for a, b in itertools.combinations(CHOICES, 2)
    for one, other in itertools.product(CHOICES[a], CHOICES[b])
]


def reason(o: dict[str, Any]) -> str | None:
    """Why these options do not go together, as the message has it; None if they do."""
    skip, order = o.get("skip", "identity"), o.get("order", "original")
    changed = order != "original" or o.get("preactivation", False)
    rules = [
        (o.get("block") == "bottleneck" and o.get("layers_per_skip") == 1, "has 3 layers"),
        (o.get("preactivation") and order not in ("original", "full-preactivation"), "is short fo"),
        (o.get("preactivation") and "order" in o and order == "original", "is short for"),
        (order in ("bn-after-addition", "relu-only-preactivation") and "norm" in o, "needs norm="),
        (order in ("bn-after-addition", "relu-before-addition") and "residual" in o, "needs resi"),
        ("gate_bias" in o and "gating" not in skip, "has none"),
        (skip != "identity" and "residual" in o, "residual=False leaves them out"),
        (skip != "identity" and changed, "a variant of the original block"),
        (skip != "identity" and o.get("shortcut") == "C", "shortcut='C' leaves none"),
        ("branch_scale" in o and "residual" in o, "branch_scale weighs"),
        ("branch_scale" in o and skip == "constant-scaling", "holds the scale of the branch"),
        ("stochastic_depth" in o and "residual" in o, "nothing would get through"),
        ("fixup" in o and "norm" not in o, "fixup=True needs norm=None"),
        ("zero_init_residual" in o and "residual" in o, "a plain network dead"),
        ("zero_init_residual" in o and order == "relu-before-addition", "sends no gradient back"),
        ("zero_init_residual" in o and o.get("branch_scale") == 0.0, "two factors"),
    ]
    return next((why for holds, why in rules if holds), None)


def depth_of(options: dict[str, Any]) -> int:
    if options.get("block") == "bottleneck":
        return 11
    return 20 if options.get("layers_per_skip") == 3 else 8


def trains(**options: Any) -> None:
    """Builds, takes a step that changes something, and is evaluated."""
    model = small(depth_of(options), **options)
    x, y = make_batch()
    x = x[:, :, ::2, ::2]
    before = model.state_dict()
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1)
    loss = nn.total_loss(F.cross_entropy, model(mr.tensor(x)), mr.tensor(y))
    loss.backward()
    optimizer.step()
    assert np.isfinite(loss.item())
    after = model.state_dict()
    assert any(before[n].tobytes() != after[n].tobytes() for n in after)
    assert all(np.isfinite(a).all() for a in after.values())
    out = model.eval()(mr.tensor(x))
    assert out.shape == (4, 3)
    assert out.dtype == np.float32
    assert np.isfinite(out.data).all()


def show(options: dict[str, Any]) -> str:
    return ",".join(f"{name}={value}" for name, value in options.items())


@pytest.mark.parametrize("options", PAIRS, ids=show)
def test_two_options_go_together_or_are_refused_with_the_reason(options: dict[str, Any]) -> None:
    why = reason(options)
    if why is None:
        trains(**options)
        return
    with pytest.raises(UsageError, match=re.escape(why)):
        small(depth_of(options), **options)


@pytest.mark.parametrize("other", [o for some in CHOICES.values() for o in some], ids=show)
def test_fixup_without_norm_goes_with_what_keeps_the_original_block(other: dict[str, Any]) -> None:
    keeps = {"block", "shortcut", "layers_per_skip", "stochastic_depth", "fixup", "aux_heads"}
    options = {"fixup": True, "norm": None} | other
    if set(other) <= keeps | {"norm"} or other == {"order": "original"}:
        trains(**options)
    else:
        with pytest.raises(UsageError):
            small(depth_of(options), **options)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_network_can_be_built_again_of_its_options(variant: str) -> None:
    model = small(**VARIANTS[variant])
    assert {name: model.options[name] for name in VARIANTS[variant]} == VARIANTS[variant]
    again = mr.models.cifar_resnet(**model.options)
    assert again.load_state_dict(model.state_dict()) == ([], [])
    x = mr.tensor(make_batch()[0])
    outputs = []
    for one in (model, again):
        mr.manual_seed(1)
        outputs.append(one(x).data.tobytes())
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "random"}, "Unknown order 'random': choose 'original', 'bn-after-addition'"),
        ({"branch_scale": float("inf")}, "branch_scale must be a finite number, got inf"),
        ({"branch_scale": "0"}, "branch_scale must be a finite number, got '0'"),
        ({"stochastic_depth": 0.0}, "above 0 and at most 1, got 0.0"),
        ({"stochastic_depth": 1.5}, "above 0 and at most 1, got 1.5"),
        ({"stochastic_depth": True}, "above 0 and at most 1, got True"),
    ],
)
def test_values_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    before = rng.get_state()
    with pytest.raises(UsageError, match=message):
        mr.models.cifar_resnet(8, **options)
    assert rng.get_state() == before


def test_a_block_of_a_user_s_own_can_have_all_of_it() -> None:
    class Own(nn.ResidualBlock):
        def branch(self, u: Any) -> Any:
            return u * 3.0

    block = Own()
    block.branch_scale, block.survival_probability = nn.Parameter(np.array([2.0], np.float32)), 0.5
    assert block.eval()(mr.tensor([1.0])).tolist() == [4.0]
    mr.manual_seed(0)
    assert {block.train()(mr.tensor([1.0])).item() for _ in range(20)} == {1.0, 7.0}
