"""The signal: every number held against one that was found by keeping the arrays."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.errors import ContractError, ShapeError, UsageError
from minires.flow.responses import Signal, signal
from tests.flow import test_ledger
from tests.flow.test_ledger import batch
from tests.flow.test_trace import Oops, failing_loss, make_batch, make_model, picture, same

FAMILIES: dict[str, dict[str, Any]] = {
    "residual": {"depth": 14, "shortcut": "B"},
    "pre-activation": {"depth": 8, "preactivation": True},
    "plain": {"depth": 8, "residual": False},
    "without norm": {"depth": 8, "norm": None},
    "bottleneck": {"depth": 11, "block": "bottleneck"},
}


def build(dtype: str = "float64", training: bool = True, **options: Any) -> Any:
    return test_ledger.build(dtype, training=training, **{"width": 3, **options})


def keep_outputs(model: nn.Module) -> dict[str, mr.Tensor]:
    """The outputs of all layers of the next pass, which keep their gradients."""
    kept: dict[str, mr.Tensor] = {}

    def keep(name: str, out: mr.Tensor) -> None:
        out.retain_grad()
        kept[name] = out

    for name, module in model.named_modules():
        if not module._modules and module._parameters:
            module.register_forward_hook(lambda m, i, out, name=name: keep(name, out))
    return kept


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", FAMILIES)
def test_numbers_are_those_of_the_arrays(family: str, dtype: str, training: bool) -> None:
    x, y = batch(dtype)
    found = signal(build(dtype, training, **FAMILIES[family]), x, y, lr=0.5)

    model = build(dtype, training, **FAMILIES[family])
    kept = keep_outputs(model)
    value = F.cross_entropy(model(mr.tensor(x)), mr.tensor(y))
    value.backward()

    rel = 1e-9 if dtype == "float64" else 1e-3
    assert found.loss == pytest.approx(value.item(), rel=rel)
    assert [layer.name for layer in found.layers] == list(kept)
    for layer in found.layers:
        own = dict(model.named_modules())[layer.name]
        out = kept[layer.name]
        answers = out.data.astype(np.float64)
        assert layer.kind == type(own).__name__
        assert layer.mean == pytest.approx(answers.mean(), rel=rel, abs=1e-6)
        assert layer.std == pytest.approx(answers.std(), rel=rel)
        assert layer.grad_norm == pytest.approx(np.linalg.norm(out.grad.data), rel=rel)
        weights = np.concatenate([p.data.ravel() for p in own.parameters()])
        slopes = np.concatenate([p.grad.data.ravel() for p in own.parameters()])
        assert layer.weight_norm == pytest.approx(np.linalg.norm(weights), rel=rel)
        assert layer.weight_grad_norm == pytest.approx(np.linalg.norm(slopes), rel=rel)
        ratio = 0.5 * np.linalg.norm(slopes) / np.linalg.norm(weights)
        assert layer.update_ratio == pytest.approx(ratio, rel=rel)
    assert found.max_error == 0.0


def test_after_batch_norm_at_initialisation_answers_have_a_standard_deviation_of_one() -> None:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(14, width=4, in_channels=2)
    for layer in signal(model, *batch("float32", 16)).layers:
        if layer.kind == "BatchNorm2d":
            assert layer.std == pytest.approx(1.0, abs=1e-3)


# --- dead units ---


def layer_named(found: Signal, name: str) -> Any:
    return next(layer for layer in found.layers if layer.name == name)


def test_dead_is_the_share_of_channels_that_answer_above_zero_nowhere() -> None:
    model = build(residual=False, depth=8)
    bn = model.layer1[0].bn1
    bn.bias.data[:2] = (-100.0, 100.0)  # one of three never lets anything through
    assert layer_named(signal(model, *batch()), "layer1.0.bn1").dead == pytest.approx(1 / 3)
    x = batch()[0]
    bn.bias.data[0] = 0.0
    answers = keep_outputs(model)
    model(mr.tensor(x))
    highest = answers["layer1.0.bn1"].data.max(axis=(0, 2, 3))
    bn.bias.data[0] = -highest[0] * 0.999  # a single number stays above 0: alive
    assert layer_named(signal(model, *batch()), "layer1.0.bn1").dead == 0.0


def test_dead_counts_units_of_linear_layers_along_the_last_dimension() -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    model[0].bias.data[1:3] = -1e6
    x = np.random.default_rng(0).standard_normal((2, 7, 4)).astype(np.float32)  # (N, T, features)
    found = signal(model, x, np.zeros(2, int), loss=lambda out, y: out.sum())
    assert found.layers[0].dead == pytest.approx(2 / 5)
    assert found.layers[1].dead is None


def test_a_unit_that_is_alive_in_one_run_of_its_layer_is_alive() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 3, bias=False)
            self.layer.weight.data[:] = np.array([[1.0], [-1.0], [0.0]])

        def forward(self, x: Any) -> Any:
            return F.relu(self.layer(x)) + F.relu(self.layer(-x))

    found = signal(Twice(), np.ones((2, 1), np.float32), np.zeros(2, int))
    assert found.layers[0].dead == pytest.approx(1 / 3)


def test_dead_is_given_only_where_a_relu_and_nothing_else_reads_the_answer() -> None:
    named = {layer.name: layer.dead for layer in signal(build(depth=8), *batch()).layers}
    assert named["conv1"] is None  # batch norm follows
    assert named["bn1"] == named["layer1.0.bn1"] == 0.0
    assert named["layer1.0.bn2"] is None  # the sum follows
    assert named["fc"] is None
    plain = {e.name: e.dead for e in signal(build(depth=8, residual=False), *batch()).layers}
    assert plain["layer1.0.bn2"] == 0.0  # with no sum, the ReLU does
    bare = {e.name: e.dead for e in signal(build(depth=8, norm=None), *batch()).layers}
    assert bare["layer1.0.conv1"] is not None

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4)

        def forward(self, x: Any) -> Any:
            y = self.first(x)
            return F.relu(y) + 0.1 * y

    found = signal(Both(), np.ones((2, 4), np.float32), np.zeros(2, int))
    assert found.layers[0].dead is None


def test_a_unit_that_answers_nan_is_not_called_dead() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    model[0].bias.data[:] = (np.nan, -1e6)
    found = signal(model, np.ones((2, 2), np.float32), np.zeros(2, int))
    assert found.layers[0].dead == 0.5


# --- other networks ---


def test_a_layer_that_runs_twice_is_one_layer_with_the_answers_of_both_runs() -> None:
    mr.manual_seed(0)
    layer = nn.Linear(4, 4).to("float64")
    x = np.random.default_rng(0).standard_normal((6, 4))
    found = signal(nn.Sequential(layer, nn.ReLU(), layer), x, np.zeros(6, int))
    assert [entry.name for entry in found.layers] == ["0"]
    first = layer(mr.tensor(x))
    second = layer(F.relu(first))
    first.retain_grad()
    activated = F.relu(first)
    out = layer(activated)
    for tensor in (first, out):
        tensor.retain_grad()
    F.cross_entropy(out, mr.tensor(np.zeros(6, int))).backward()
    both = np.concatenate([first.data.ravel(), second.data.ravel()])
    assert found.layers[0].mean == pytest.approx(both.mean())
    assert found.layers[0].std == pytest.approx(both.std())
    size = np.hypot(np.linalg.norm(first.grad.data), np.linalg.norm(out.grad.data))
    assert found.layers[0].grad_norm == pytest.approx(size)


def test_frozen_layers_have_a_gradient_at_their_output_and_none_of_their_weights() -> None:
    model = build(depth=8)
    for parameter in [*model.conv1.parameters(), *model.bn1.parameters()]:
        parameter.requires_grad_(False)
    found = signal(model, *batch(), lr=0.1)
    full = signal(build(depth=8), *batch(), lr=0.1)
    assert found.layers[0].grad_norm == pytest.approx(full.layers[0].grad_norm)
    assert found.layers[0].weight_grad_norm is None
    assert found.layers[0].update_ratio is None
    assert found.layers[2].weight_grad_norm == pytest.approx(full.layers[2].weight_grad_norm)


def test_the_rates_of_an_optimizer_are_those_of_its_groups() -> None:
    model = build(depth=8)
    groups = [{"params": list(model.conv1.parameters()), "lr": 0.5}]
    groups.append({"params": list(model.fc.parameters()), "lr": 0.25})
    found = signal(model, *batch(), optimizer=mr.optim.SGD(groups, lr=0.1))
    plain = signal(model, *batch(), lr=1.0)
    ratios = [layer.update_ratio for layer in found.layers]
    assert ratios[0] == pytest.approx(0.5 * plain.layers[0].update_ratio)
    assert ratios[-1] == pytest.approx(0.25 * plain.layers[-1].update_ratio)
    assert set(ratios[1:-1]) == {0.0}
    assert {layer.update_ratio for layer in signal(model, *batch()).layers} == {None}


def test_a_model_that_does_not_compute_the_same_twice_is_found_out() -> None:
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.calls = nn.Linear(2, 2), [1.0]

        def forward(self, x: Any) -> Any:
            self.calls.append(self.calls[-1] + 1.0)
            return self.layer(x * self.calls[-1])

    found = signal(Noisy(), np.ones((2, 2), np.float32), np.zeros(2, int))
    assert found.max_error > 0.01
    assert "does not compute the same twice" in found.caption()


# --- the result ---


def test_the_result_is_plain_data_a_table_and_a_sentence_of_its_numbers() -> None:
    model = build(depth=8)
    model.layer2[0].bn1.bias.data[0] = -100.0
    found = signal(model, *batch())
    data = found.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert set(data["layers"][0]) == {
        *("name", "kind", "mean", "std", "dead", "grad_norm"),
        *("weight_norm", "weight_grad_norm", "update_ratio"),
    }
    assert len(found.table().splitlines()) == 2 + len(found.layers)
    spread = sorted((layer.std, layer.name) for layer in found.layers)
    for std, name in (spread[0], spread[-1]):
        assert f"{std:.3g} ({name})" in found.caption()
    assert "up to 17% of a layer's units are dead (layer2.0.bn1)" in found.caption()
    assert "no bit" in found.caption()
    assert found.plot().alt
    assert "<svg" in found._repr_html_()


def test_numbers_that_are_not_finite_are_not_talked_away() -> None:
    model = build(depth=8)
    model.conv1.weight.data[...] = np.nan
    with np.errstate(all="ignore"):
        found = signal(model, *batch())
    assert math.isnan(found.max_error)
    assert "failed" in found.caption()


# --- leaving no trace ---


def test_a_signal_that_fails_half_way_leaves_everything_as_it_was() -> None:
    model = make_model()
    before = picture(model)
    with pytest.raises(Oops):
        signal(model, *make_batch(), loss=failing_loss)
    same(before, picture(model))
    model.layer3.forward = failing_loss.__get__(model.layer3)
    before = picture(model)
    with pytest.raises(Oops):
        signal(model, *make_batch())
    same(before, picture(model))


def test_leaves_outside_the_model_get_no_gradient() -> None:
    scale = mr.tensor([2.0], requires_grad=True)
    x = mr.tensor(make_batch()[0], requires_grad=True)
    signal(make_model(), x, make_batch()[1], loss=lambda out, y: F.cross_entropy(out * scale, y))
    assert scale.grad is None
    assert x.grad is None


# --- bad use ---


def test_bad_use_is_refused_with_the_instruments_name() -> None:
    x, y = make_batch()
    model = make_model()
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1)
    calls: list[tuple[type[Exception], str, Any]] = [
        (ContractError, "signal: a list is no model", lambda: signal([], x, y)),
        (ContractError, "signal: needs the labels", lambda: signal(model, x)),
        (ContractError, "no layer with parameters", lambda: signal(nn.Flatten(), x, y)),
        (ShapeError, "single number", lambda: signal(model, x, y, loss=lambda o, t: o)),
        (ContractError, "has no gradient", lambda: signal(model, x, y, loss=lambda o, t: 1.0)),
        (UsageError, "lr must be", lambda: signal(model, x, y, lr=-1.0)),
        (UsageError, "lr must be", lambda: signal(model, x, y, lr=math.nan)),
        (UsageError, "lr must be", lambda: signal(model, x, y, lr="0.1")),  # type: ignore[arg-type]
        (UsageError, "not both", lambda: signal(model, x, y, lr=0.1, optimizer=optimizer)),
        (UsageError, "of minires.optim", lambda: signal(model, x, y, optimizer=0.1)),  # type: ignore[arg-type]
    ]
    for error, text, call in calls:
        with pytest.raises(error, match=text):
            call()
