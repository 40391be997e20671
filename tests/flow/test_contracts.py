"""Flow contracts: sound models give no finding, planted defects are found where they are."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.autograd import engine
from minires.errors import ContractError, ShapeError
from minires.flow.contracts import Finding, ModelCheck, check_model
from minires.flow.watched_pass import Graph
from tests.flow.test_trace import (
    FailsLater,
    Oops,
    failing_loss,
    make_batch,
    make_model,
    picture,
    same,
)

FAMILIES: dict[str, dict[str, Any]] = {
    "plain": {"residual": False},
    "residual": {},
    "pre-activation": {"preactivation": True},
    "bottleneck": {"depth": 11, "block": "bottleneck"},
    "pre-activation bottleneck": {"depth": 11, "block": "bottleneck", "preactivation": True},
    "no norm": {"norm": None},
}


def build(depth: int = 8, **options: Any) -> Any:
    mr.manual_seed(0)
    options = {"width": 4, "in_channels": 2, "num_classes": 5, **options}
    return mr.models.cifar_resnet(depth, **options)


def batch(dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(4)
    return draw.standard_normal((6, 2, 8, 8)).astype(dtype), np.arange(6) % 5


def found(model: nn.Module, kind: str | None = None) -> list[Finding]:
    """The findings of one kind, or all that are more than information."""
    findings = check_model(model, *batch()).findings
    if kind is None:
        return [f for f in findings if f.severity != "information"]
    return [f for f in findings if f.kind == kind]


def stack(*parts: nn.Module) -> nn.Module:
    """Parts between a layer from the batch to 6 numbers and one to 5 scores."""
    return nn.Sequential(nn.Flatten(), nn.Linear(128, 6), *parts, nn.Linear(6, 5))


class Dense(nn.ResidualBlock):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def branch(self, u: Any) -> Any:
        return F.relu(self.layer(u))


class Via(nn.Module):
    """A linear layer, and what ``change`` makes of its output."""

    def __init__(self, change: Callable[[Any], Any]):
        super().__init__()
        self.layer, self.change = nn.Linear(6, 6), change

    def forward(self, x: Any) -> Any:
        return self.change(self.layer(x))


# --- sound models ---


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("shortcut", "ABC")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sound_model_gives_no_finding(family: str, shortcut: str, training: bool) -> None:
    result = check_model(build(**FAMILIES[family], shortcut=shortcut).train(training), *batch())
    assert result.findings == ()
    assert result.max_error is not None
    assert result.max_error < 1e-6
    assert result.visits == result.nodes > 0
    assert result.caption().startswith("Nothing found. CifarResNet in ")
    assert f"{result.blocks} blocks" in result.caption()


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "plain"])
def test_a_zero_initialised_branch_is_information_and_names_the_zero(family: str) -> None:
    model = build(**FAMILIES[family], zero_init_residual=True, shortcut="A")
    result = check_model(model, *batch())
    assert {f.severity for f in result.findings} == {"information"}
    zero = [f for f in result.findings if f.kind == "zero gradient"]
    assert [f.layer.rpartition(".")[0] for f in zero] == ["layer1.0", "layer2.0", "layer3.0"]
    parameters = dict(model.named_parameters())
    for finding in zero:
        assert not parameters[f"{finding.layer}.weight"].data.any()
        assert all(name.startswith(finding.layer.rpartition(".")[0]) for name in finding.parameters)


def test_zeros_of_the_gradients_are_those_of_an_ordinary_backward_pass() -> None:
    model = build(14, zero_init_residual=True)
    named = {name for f in found(model, "zero gradient") for name in f.parameters}
    F.cross_entropy(model(mr.tensor(batch()[0])), mr.tensor(batch()[1])).backward()
    assert named == {n for n, p in model.named_parameters() if not p.grad.data.any()} != set()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_users_own_network_with_shared_activations_and_frozen_parts_is_sound(dtype: str) -> None:
    mr.manual_seed(0)
    relu = nn.ReLU()
    model = stack(Dense(), relu, Dense(), relu).to(dtype)
    model[1].requires_grad_(False)
    assert check_model(model, *batch(dtype)).findings == ()


def test_a_frozen_feature_extractor_in_no_grad_is_sound() -> None:
    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Linear(128, 6), nn.Linear(6, 5)
            self.layer.requires_grad_(False)

        def forward(self, x: Any) -> Any:
            with mr.no_grad():
                x = self.layer(F.flatten(x, 1))
            return self.head(x)

    assert check_model(Features(), *batch()).findings == ()


# --- cut off, no gradient ---


def in_no_grad(x: Any) -> Any:
    with mr.no_grad():
        return x * 2.0


CUTS: dict[str, Callable[[Any], Any]] = {
    "detach": lambda x: x.detach(),
    "data": lambda x: mr.tensor(x.data),
    "round trip": lambda x: mr.Tensor(x.detach().numpy()),
    "bare array": lambda x: x.data,
    "no_grad": in_no_grad,
}


@pytest.mark.parametrize("place", [2, 3, 4])
@pytest.mark.parametrize("cut", CUTS)
def test_a_cut_is_named_with_the_module_whose_forward_makes_it(cut: str, place: int) -> None:
    mr.manual_seed(0)
    parts = [Via(lambda x: x) for _ in range(3)]
    parts[place - 2].change = CUTS[cut]
    model = stack(*parts)
    assert [(f.layer, f.severity) for f in found(model, "cut off")] == [(str(place), "error")]
    before = ["1", *(f"{i}.layer" for i in range(2, place + 1))]
    lost = found(model, "no gradient")
    assert [f.layer for f in lost] == before
    assert all(f"cut off in {place}" in f.text for f in lost)


@pytest.mark.parametrize("name", ["layer1.0.conv2", "layer2.0.bn1", "layer3.0"])
def test_a_cut_before_the_weights_of_a_layer_is_seen_too(name: str) -> None:
    model = build()
    layer = dict(model.named_modules())[name]
    forward = layer.forward
    layer.forward = lambda x: forward(x.detach())
    assert [f.layer for f in found(model, "cut off")] == [name]
    assert found(model, "block contract") == []  # said already


def test_layers_that_a_forward_runs_in_no_grad_are_its_fault_and_not_theirs() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Any) -> Any:
            with mr.no_grad():
                y = self.one(x)
            return self.two(x) + y

    mr.manual_seed(0)
    (cut,) = found(stack(Half()), "cut off")
    assert (cut.layer, "runs 2.one with recording switched off" in cut.text) == ("2", True)
    assert [f.layer for f in found(stack(Half()), "no gradient")] == ["2.one"]


@pytest.mark.parametrize("change", [lambda loss: loss.detach(), lambda loss: mr.tensor(loss.data)])
def test_a_loss_without_history_is_reported(change: Callable[[Any], Any]) -> None:
    result = check_model(build(), *batch(), loss=lambda out, t: change(F.cross_entropy(out, t)))
    assert [(f.layer, f.kind) for f in result.findings] == [("loss", "cut off")]
    assert result.max_error is None


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("place", ["conv1", "layer2.0", "layer3.0"])
def test_a_layer_that_does_not_run_is_named(place: str, training: bool) -> None:
    model = build(aux_heads=2).train(training)
    dict(model.named_modules())[place].extra = nn.Linear(3, 3)
    (lost,) = found(model)
    assert (lost.layer, lost.kind) == (f"{place}.extra", "no gradient")
    assert lost.parameters == (f"{place}.extra.weight", f"{place}.extra.bias")
    assert "did not run" in lost.text


def test_a_layer_whose_output_is_thrown_away_is_named() -> None:
    mr.manual_seed(0)
    parts = [Via(lambda x: x), Via(lambda x: x)]
    parts[0].forward = lambda x: (parts[0].layer(x), x)[1]
    (lost,) = found(stack(*parts))
    assert (lost.layer, lost.kind) == ("2.layer", "no gradient")
    assert "nothing that it gave reached the loss" in lost.text


# --- zero gradients ---


@pytest.mark.parametrize("place", [1, 3, 5])
def test_a_dead_relu_is_named_with_the_layer_before_it(place: int) -> None:
    mr.manual_seed(0)
    hidden = [part for _ in range(2) for part in (nn.Linear(6, 6), nn.ReLU())]
    model = nn.Sequential(nn.Linear(128, 6), nn.ReLU(), *hidden, nn.Linear(6, 5))
    model = nn.Sequential(nn.Flatten(), *model)
    model[place].bias.data[...] = -1e4
    dead = found(model, "zero gradient")
    behind = [f for f in dead if f.layer == str(place)]
    assert [f.severity for f in behind] == ["warning"]
    assert "ReLU behind it" in behind[0].text
    assert f"{place}.weight" in behind[0].parameters
    after = [f for f in dead if f.layer != str(place)]
    assert [f.layer for f in after] == ([str(place + 2)] if place < 6 else [])
    assert all("what it is given is zero" in f.text for f in after)


def test_a_factor_of_zero_is_named_with_its_operation() -> None:
    mr.manual_seed(0)
    zero, fine = Via(lambda x: x * 0.0), Dense()
    model = stack(fine, zero)
    (cause,) = [f for f in found(model, "zero gradient") if "2.layer.weight" in f.parameters]
    assert (cause.layer, cause.severity) == ("3", "warning")
    assert cause.text.startswith("Mul gets a gradient here")


def test_numbers_too_small_for_the_dtype_are_not_booked_on_a_bias_of_zero() -> None:
    mr.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.Conv2d(3, 5, 1), nn.AdaptiveAvgPool2d(1))
    model[1].weight.data[...] = 1e-30
    model[1].bias.data[...] = 0.0
    result = check_model(model, *batch(), loss=lambda out, t: (out * 1e-20).sum())
    (cause,) = result.findings
    assert (cause.layer, cause.severity) == ("1", "warning")
    assert cause.text.startswith("Conv2d gets a gradient here and passes back zeros")
    assert cause.parameters == ("0.weight", "0.bias")


def test_a_loss_that_sends_nothing_back_is_named() -> None:
    result = check_model(build(), *batch(), loss=lambda out, t: (out * 0.0).sum() * 0.0)
    assert {f.kind for f in result.findings} == {"zero gradient"}
    assert {f.layer for f in result.findings} == {"loss"}


# --- not finite ---


@pytest.mark.parametrize("name", ["conv1", "layer2.0.bn1", "fc"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_layer_that_is_not_finite_is_named(name: str, value: float) -> None:
    model = build()
    dict(model.named_modules())[name].weight.data.flat[0] = value
    (bad,) = found(model, "not finite")
    assert (bad.layer, bad.parameters) == (name, (f"{name}.weight",))


def test_nan_that_comes_up_between_layers_is_booked_on_the_module_around_them() -> None:
    class Between(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Any) -> Any:
            return self.two((self.one(x) - 1e4).log())

    mr.manual_seed(0)
    (bad,) = found(stack(Dense(), Between()), "not finite")
    assert bad.layer == "3"
    assert "before 3.two" in bad.text


def test_a_batch_and_a_loss_that_are_not_finite_are_told_apart_from_layers() -> None:
    x, y = batch()
    x[0, 0, 0, 0] = np.nan
    assert [f.text for f in check_model(build(), x, y).findings if f.kind == "not finite"] == [
        "the batch itself holds nan or inf"
    ]
    result = check_model(build(), *batch(), loss=lambda out, t: (out - 1e4).log().sum())
    assert [f.layer for f in result.findings if f.kind == "not finite"] == ["loss"]


class RootOfZero(nn.Module):
    def forward(self, x: Any) -> Any:
        return x + (x * 0.0).sqrt()


@pytest.mark.parametrize("place", [2, 3, 4])
def test_the_first_gradient_that_is_not_finite_is_named_with_its_operation(place: int) -> None:
    mr.manual_seed(0)
    parts: list[nn.Module] = [Dense(), Dense()]
    parts.insert(place - 2, RootOfZero())
    (bad,) = found(stack(*parts), "not finite")
    assert bad.layer == str(place)
    assert "Sqrt" in bad.text


def test_of_two_operations_that_read_a_tensor_the_one_that_spoils_the_gradient_is_named() -> None:
    def both(x: Any) -> Any:
        y = x * 0.0
        return y + y.sqrt()

    mr.manual_seed(0)
    (bad,) = found(stack(Dense(), Via(both)), "not finite")
    assert (bad.layer, "of Sqrt is" in bad.text) == ("3", True)


def test_a_gradient_that_is_not_finite_in_the_branch_of_a_block_is_named_there() -> None:
    class Sick(Dense):
        def branch(self, u: Any) -> Any:
            return super().branch((u * 0.0).sqrt())

    mr.manual_seed(0)
    (bad,) = found(stack(Dense(), Sick(), Dense()), "not finite")
    assert bad.layer == "3"


# --- what is kept, shared and repeated ---


class Lists(nn.Module):
    """Layers kept where the module does not look."""

    def __init__(self, keep: Callable[[nn.Module], Any]):
        super().__init__()
        self.kept = keep(nn.Linear(6, 6))

    def forward(self, x: Any) -> Any:
        kept = self.kept
        while not isinstance(kept, nn.Module):
            kept = next(iter(kept.values() if isinstance(kept, dict) else kept))
        return kept(x)


@pytest.mark.parametrize(
    ("keep", "place"),
    [
        (lambda layer: [layer], "kept[0]"),
        (lambda layer: (layer,), "kept[0]"),
        (lambda layer: {"a": [layer]}, "kept['a'][0]"),
    ],
)
@pytest.mark.parametrize("at", [2, 3])
def test_layers_in_plain_lists_are_named(
    keep: Callable[[nn.Module], Any], place: str, at: int
) -> None:
    mr.manual_seed(0)
    parts: list[nn.Module] = [Dense()]
    parts.insert(at - 2, Lists(keep))
    (hidden,) = found(stack(*parts))
    name = f"{at}.{place}"
    assert (hidden.layer, hidden.kind, hidden.severity) == (str(at), "not registered", "error")
    assert hidden.parameters == (f"{name}.weight", f"{name}.bias")


def test_a_trainable_tensor_that_is_no_parameter_is_named_and_registered_ones_are_not() -> None:
    mr.manual_seed(0)
    model = stack(Dense())
    model[2].scale = mr.ones(6).requires_grad_()
    model[2].forward = lambda x: x * model[2].scale + Dense.branch(model[2], x)
    model.order = [model[1], model[2], *model.parameters()]  # these are registered as well
    (hidden,) = found(model)
    assert (hidden.layer, hidden.parameters) == ("2", ("2.scale",))


def test_a_teacher_kept_aside_is_information() -> None:
    model = build()
    model.teacher = [build()]
    result = check_model(model, *batch())
    assert [(f.kind, f.severity) for f in result.findings] == [("not registered", "information")]


@pytest.mark.parametrize("pair", [("layer1.0.conv1", "layer1.0.conv2"), ("conv1", "layer3.0.bn1")])
@pytest.mark.parametrize("what", ["values", "gradient"])
def test_parameters_and_gradients_that_share_memory_are_named(
    pair: tuple[str, str], what: str
) -> None:
    model = build()
    one, other = (dict(model.named_modules())[name].weight for name in pair)
    if what == "values":
        whole = np.zeros(one.numel() + other.numel(), np.float32)
        whole[: one.numel()], whole[-other.numel() :] = one.data.ravel(), other.data.ravel()
        one.data = whole[: one.numel()].reshape(one.shape)
        other.data = whole[one.numel() - 1 : -1].reshape(other.shape)  # one number in both
    else:
        memory = np.ones(max(one.numel(), other.numel()), np.float32)
        one.grad = mr.Tensor(memory[: one.numel()].reshape(one.shape))
        other.grad = mr.Tensor(memory[-other.numel() :].reshape(other.shape))
    (shared,) = found(model, "shared memory")
    assert (shared.layer, shared.severity) == (pair[1], "error")
    assert shared.parameters == tuple(f"{name}.weight" for name in pair)
    assert what in shared.text


def test_neighbours_in_memory_that_do_not_overlap_are_no_finding() -> None:
    model = build(shortcut="A")
    one, other = model.layer1[0].conv1.weight, model.layer1[0].conv2.weight
    whole = np.stack([one.data, other.data], axis=-1)
    one.data, other.data = whole[..., 0], whole[..., 1]
    assert check_model(model, *batch()).findings == ()


def test_an_engine_that_hands_out_one_gradient_twice_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = build()
    own, handed = engine._as_tensor, mr.zeros(4)

    def shared(gradient: Any) -> Any:
        return handed if gradient.shape == (4,) else own(gradient)

    monkeypatch.setattr(engine, "_as_tensor", shared)
    named = {name for f in found(model, "shared memory") for name in f.parameters}
    assert {"layer1.0.bn1.weight", "layer1.0.bn1.bias"} <= named


def test_one_parameter_under_two_names_is_information() -> None:
    mr.manual_seed(0)
    model = stack(Dense(), Dense())
    model[3].layer.weight = model[2].layer.weight
    (tied,) = check_model(model, *batch()).findings
    assert (tied.kind, tied.severity) == ("shared memory", "information")
    assert tied.parameters == ("2.layer.weight", "3.layer.weight")


class Level(nn.Module):
    """A recursive forward: the level below is called twice on the same input."""

    def __init__(self, below: nn.Module | None):
        super().__init__()
        self.layer, self.below = nn.Linear(6, 6), below

    def forward(self, x: Any) -> Any:
        if self.below is None:
            return self.layer(x)
        return self.layer(self.below(x)) * 0.5 + self.below(x) * 0.5


@pytest.mark.parametrize("levels", [2, 3, 5])
def test_a_recursive_forward_is_told_with_its_number_of_calls(levels: int) -> None:
    mr.manual_seed(0)
    model: nn.Module | None = None
    for _ in range(levels):
        model = Level(model)
    (finding,) = found(stack(model))  # type: ignore[arg-type]
    assert finding.kind == "growth"
    assert finding.layer.count("below") == levels - 1
    assert finding.severity == ("error" if levels > 2 else "warning")
    assert f"called {2 ** (levels - 1)} times" in finding.text


def test_a_layer_called_twice_on_different_inputs_is_no_finding() -> None:
    mr.manual_seed(0)
    block = Dense()
    assert found(stack(block, block)) == []


@pytest.mark.parametrize("blocks", [4, 6])
def test_blocks_that_record_ever_more_of_the_graph_are_named(blocks: int) -> None:
    class Ever(Dense):
        nth = 0

        def branch(self, u: Any) -> Any:
            for _ in range(2**self.nth):
                u = u * 0.9
            return super().branch(u)

    mr.manual_seed(0)
    parts = [Ever() for _ in range(blocks)]
    for i, part in enumerate(parts):
        part.nth = i
    (finding,) = found(stack(*parts))
    assert (finding.kind, finding.layer) == ("growth", str(blocks + 1))


def test_a_node_that_fires_twice_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    once = Graph._arrived

    def twice(self: Graph, node: Any, grad: Any) -> None:
        once(self, node, grad)
        once(self, node, grad)

    monkeypatch.setattr(Graph, "_arrived", twice)
    result = check_model(build(), *batch())
    assert [f.kind for f in result.findings] == ["growth"]
    assert result.visits == 2 * result.nodes


# --- batch norm ---


@pytest.mark.parametrize("name", ["bn1", "layer2.0.bn1", "layer3.0.bn2"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_a_channel_without_variance_is_named(name: str, training: bool) -> None:
    model = build().train(training)
    modules = dict(model.named_modules())
    if training:
        modules[name.replace("bn", "conv")].weight.data[1] = 0.0
    else:
        modules[name].running_var.data[1] = 0.0
    (finding,) = found(model)
    assert (finding.layer, finding.kind) == (name, "constant channel")
    assert finding.text.startswith("1 of ")


# --- the block contract ---


class Saved(Dense):
    """Reads what it has kept from before the fork."""

    def pre(self, x: Any) -> Any:
        self.kept = x * 2.0
        return x * 3.0

    def branch(self, u: Any) -> Any:
        return super().branch(u) + self.kept


class InPlace(Dense):
    def branch(self, u: Any) -> Any:
        u.data.setflags(write=True)
        u.data[...] += 1.0
        return super().branch(u)


def with_part(part: str, value: Any) -> nn.Module:
    block = Dense()
    setattr(block, part, value)
    return block


BREACHES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "branch": (lambda: with_part("branch", lambda u: mr.ones(*u.shape)), "branch(u) does not"),
    "shortcut": (
        lambda: with_part("shortcut", lambda u: mr.ones(*u.shape)),
        "shortcut(u) does not",
    ),
    "pre": (lambda: with_part("pre", lambda x: mr.ones(*x.shape)), "no way in the graph"),
    "activation": (
        lambda: with_part("activation", lambda z: mr.ones(*z.shape)),
        "its output has no history",
    ),
    "kept": (Saved, "reads a tensor from before the fork"),
    "in place": (InPlace, "changes what it is given in place"),
}


@pytest.mark.parametrize("place", [2, 3, 4])
@pytest.mark.parametrize("breach", BREACHES)
def test_a_breach_of_the_block_contract_is_named(breach: str, place: int) -> None:
    mr.manual_seed(0)
    make, text = BREACHES[breach]
    parts: list[nn.Module] = [Dense(), Dense()]
    parts.insert(place - 2, make())
    findings = [f for f in found(stack(*parts)) if f.layer == str(place)]
    assert any(text in f.text for f in findings)
    elsewhere = [f for f in found(stack(*parts)) if f.layer != str(place)]
    assert {f.kind for f in elsewhere} <= {"no gradient"}


def test_parts_that_ignore_their_input_are_told_also_at_the_first_block() -> None:
    """Nothing is to be trained before it, so it is no cut; but instruments would see nothing."""

    class First(nn.ResidualBlock):
        def __init__(self, part: str):
            super().__init__()
            self.branch, self.weight = nn.Linear(128, 128), nn.Parameter(mr.ones(128))
            setattr(self, part, lambda given: self.weight * mr.ones(*given.shape))

    mr.manual_seed(0)
    for part in ("pre", "branch", "shortcut", "activation"):
        model = nn.Sequential(nn.Flatten(), First(part), nn.Linear(128, 5))
        texts = [f.text for f in found(model, "block contract")]
        assert [text.partition("(")[0] for text in texts] == [part]


@pytest.mark.parametrize(
    ("branch", "text"),
    [
        (lambda u: None, "returned None"),
        (lambda u: u.data, "returned a ndarray"),
        (lambda u: (u, u), "returned a tuple"),
        (lambda u: u[:, :3], "the shortcut gives (6, 6)"),
    ],
)
@pytest.mark.parametrize("place", [2, 3])
def test_a_block_that_stops_the_pass_is_reported(
    branch: Callable[[Any], Any], text: str, place: int
) -> None:
    mr.manual_seed(0)
    parts: list[nn.Module] = [Dense()]
    parts.insert(place - 2, with_part("branch", branch))
    result = check_model(stack(*parts), *batch())
    (stopped,) = [f for f in result.findings if f.kind == "stopped"]
    assert stopped.layer == str(place)
    assert text in stopped.text
    assert result.loss is result.max_error is None
    assert "no gradient to compare" in result.caption()


def test_a_saved_array_that_the_model_changes_stops_a_pass_and_is_reported() -> None:
    def overwritten(layer: Any) -> Any:
        def forward(x: Any) -> Any:
            x.data[...] = 0.0  # read-only: the layer before has saved it
            return x

        return forward

    mr.manual_seed(0)
    part = nn.Identity()
    part.forward = overwritten(part)
    result = check_model(stack(nn.ReLU(), part), *batch())
    assert [(f.kind, f.layer) for f in result.findings[:1]] == [("stopped", "3")]
    assert "read-only" in result.findings[0].text


# --- bad use, and no trace ---


def test_what_is_no_sick_model_but_bad_use_is_an_error() -> None:
    x, y = batch()
    with pytest.raises(ShapeError, match=r"check_model: CifarResNet .*this batch"):
        check_model(build(), x[:, :1], y)
    with pytest.raises(ShapeError, match="must be a single number"):
        check_model(build(), x, y, loss=lambda out, t: out)
    with pytest.raises(ContractError, match="check_model: the loss returned a float"):
        check_model(build(), x, y, loss=lambda out, t: 1.0)
    with pytest.raises(ContractError, match="check_model: a function is no model"):
        check_model(lambda x: x, x, y)  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="check_model: needs the labels"):
        check_model(build(), x)


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_block_that_fails_half_way_leaves_everything_as_it_was(nth: int) -> None:
    block = FailsLater(nth)
    model = nn.Sequential(block, block, nn.Flatten(), nn.Linear(64, 3))
    before = picture(model)
    with pytest.raises(Oops):
        check_model(model, *make_batch())
    assert len(block.calls) == nth
    same(before, picture(model))


def test_failing_losses_and_sick_models_are_left_as_they_were() -> None:
    model = make_model()
    before = picture(model)
    with pytest.raises(Oops):
        check_model(model, *make_batch(), loss=failing_loss)
    same(before, picture(model))
    model.layer2[0].branch = lambda u: None
    before = picture(model)
    assert check_model(model, *make_batch()).findings[0].kind == "stopped"
    same(before, picture(model))


def test_layers_kept_in_lists_and_the_batch_are_left_as_they_were() -> None:
    class Hidden(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kept = [nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)]
            self.head = nn.Linear(64, 3)

        def forward(self, x: Any) -> Any:
            x.data[0] += 1.0
            return self.head(F.flatten(self.kept[1](self.kept[0](x)), 1))

    model = Hidden()
    x, y = make_batch()
    pictures = [picture(module) for module in (model, *model.kept)]
    copy = x.copy()
    result = check_model(model, x, y)
    assert "it changes what it is given in place" in [f.text for f in result.findings][-1]
    for before, module in zip(pictures, (model, *model.kept), strict=True):
        same(before, picture(module))
    assert x.tobytes() == copy.tobytes()


def test_a_model_that_is_not_the_same_twice_fails_the_check() -> None:
    draw = np.random.default_rng(0)
    mr.manual_seed(0)
    model = stack(Dense(), Via(lambda x: x * float(draw.uniform(0.5, 2.0))))
    result = check_model(model, *batch())
    assert result.max_error is not None
    assert result.max_error > 1e-3
    assert "does not compute the same twice" in result.caption()


# --- the result ---


def sick() -> ModelCheck:
    model = build()
    model.extra = nn.Linear(3, 3)
    model.layer3[0].bn1.weight = model.layer3[0].bn2.weight
    model.layer1[0].bn2.weight.data[...] = 0.0
    model.layer2[0].conv1.forward = lambda x: F.conv2d(x.detach(), mr.ones(8, 4, 3, 3), None, 2, 1)
    return check_model(model, *batch())


def test_the_dictionary_is_plain_data_and_has_every_finding() -> None:
    result = sick()
    data = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert set(data) == set(vars(result)) | {"checks"}
    assert [f["text"] for f in data["findings"]] == [f.text for f in result.findings]
    assert {f.kind for f in result.findings} <= set(data["checks"])
    names = [layer["name"] for layer in data["layers"]]
    assert {f.layer for f in result.findings} <= set(names)
    assert names.index("conv1") < names.index("layer1.0.conv1") < names.index("fc")
    assert {layer["name"]: layer["calls"] for layer in data["layers"]}["extra"] == 0


def test_the_worst_comes_first_and_text_and_page_show_all() -> None:
    result = sick()
    severities = [f.severity for f in result.findings]
    assert severities == sorted(severities, key=("error", "warning", "information").index)
    assert f"{len(result.findings)} findings" in result.caption()
    text, page = str(result), result._repr_html_()
    for finding in result.findings:
        assert finding.layer in text
        assert finding.mend in text
        assert finding.layer in page
