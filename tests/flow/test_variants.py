"""Instruments on networks that drop branches, scale them, or have scalars of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import flow, nn
from minires.flow.shattering import hold_statistics
from minires.models.fixup import fixup_groups
from minires.train import fit

DEEP = {"stochastic_depth": 0.2}
FIXUP = {"norm": None, "fixup": True}


def build(depth: int = 14, *, warm: bool = False, **options: Any) -> Any:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(
        depth, **{"width": 2, "in_channels": 1, "num_classes": 3, **options}
    )
    if warm:  # running statistics that are not those of the start
        for _ in range(20):
            model(mr.tensor(batch()[0]))
    return model


def batch(n: int = 8, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    return draw.standard_normal((n, 1, 8, 8)).astype(dtype), draw.integers(0, 3, n)


def dropping_some(model: Any, seed: int = 3) -> Any:
    """The default generator set to a state in which some branches are dropped, and some are not."""
    mr.manual_seed(seed)
    return model


def record(model: Any, steps: int = 1, lr: float = 0.0) -> flow.Recording:
    x, y = map(mr.tensor, batch())
    optimizer = mr.optim.SGD(model.parameters(), lr=lr)
    with flow.Recorder(model, every=1) as recorder:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            recorder.step(loss)
    return recorder.log


# --- what is drawn in training does not come into a measurement that is to be repeatable ---


@pytest.mark.parametrize("options", [DEEP, {"skip": "dropout"}], ids=str)
def test_shattering_does_not_depend_on_the_default_generator(options: dict[str, Any]) -> None:
    model, x = build(**options), batch()[0]
    found = []
    for seed in (1, 2, 3):
        mr.manual_seed(seed)
        found.append(flow.shattering(model, x, points=16, outputs=2).to_dict())
    assert found[0] == found[1] == found[2]
    assert found[0]["statistics"] == "batch"


def test_held_statistics_are_those_of_the_batch_also_in_branches_that_training_drops() -> None:
    model, x = build(**DEEP), mr.tensor(batch()[0])
    with flow.untouched(model):
        hold_statistics(dropping_some(model), x)
        inputs: dict[int, np.ndarray] = {}
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.register_forward_pre_hook(
                lambda module, given: inputs.update({id(module): given[0].data})
            )
        model(x)
        for norm in norms:
            given = inputs[id(norm)]
            np.testing.assert_allclose(
                norm.running_mean.data, given.mean(axis=(0, 2, 3)), atol=1e-5
            )
            np.testing.assert_allclose(norm.running_var.data, given.var(axis=(0, 2, 3)), rtol=1e-4)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_check_model_looks_at_the_function_of_its_mode(training: bool) -> None:
    x, y = batch()
    model = build(warm=True, **DEEP).train(training)
    whole = build(warm=True)  # a network of the same weights that drops nothing
    whole.load_state_dict(model.state_dict())
    expected = flow.ledger(whole if training else model, x, y).loss
    assert flow.check_model(dropping_some(model), x, y).loss == pytest.approx(expected, rel=1e-6)
    assert flow.check_model(model, x, y).findings == ()


# --- the dial ---


def test_in_training_the_dial_measures_with_all_branches() -> None:
    x, y = batch(dtype="float64")
    model, whole = build(**DEEP).to("float64"), build().to("float64")
    whole.load_state_dict(model.state_dict())
    expected = flow.dial(whole, (x, y), (0, 0.5, 1), train_epochs=1, batch_size=4)
    for seed in (1, 2):
        found = flow.dial(
            dropping_some(model, seed), (x, y), (0, 0.5, 1), train_epochs=1, batch_size=4
        )
        assert found.to_dict() == expected.to_dict()
        assert found.before[0].first_norm > 0.0


def test_in_evaluation_the_dial_measures_the_scaled_branches_and_after_training_whole_ones() -> (
    None
):
    x, y = batch()
    model = build(warm=True, **DEEP).eval()
    found = flow.dial(model, (x, y), (1,), train_epochs=1, batch_size=4)
    assert found.max_error == 0.0
    assert found.before[0].loss == pytest.approx(flow.ledger(model, x, y).loss, rel=1e-6)
    whole = build(warm=True)
    whole.load_state_dict(model.state_dict())
    expected = flow.dial(whole.eval(), (x, y), (1,), train_epochs=1, batch_size=4)
    assert found.after == expected.after


def test_the_dial_trains_the_scalars_of_fixup_at_a_tenth_of_the_rate() -> None:
    x, y = batch()
    model = build(8, **FIXUP)
    found = flow.dial(model, (x, y), (1,), train_epochs=2, batch_size=4, lr=0.5).after[0]
    optimizer = mr.optim.SGD(fixup_groups(model, 0.5), lr=0.5, momentum=0.9, weight_decay=1e-4)
    fit(model, mr.data.DataLoader((x, y), 4, shuffle=True, seed=0), optimizer, epochs=2)
    assert found.loss == pytest.approx(flow.ledger(model, x, y).loss, rel=1e-6)


# --- dropped branches in the ledger and in the log ---


def test_ledger_and_recorder_agree_on_a_dropped_branch() -> None:
    x, y = batch()
    model = build(**DEEP)
    entries = flow.ledger(dropping_some(model), x, y).blocks
    log = record(dropping_some(model))
    for column in ("skip_norm", "branch_norm", "share", "cosine", "forward_ratio"):
        expected = [getattr(entry, column) for entry in entries]
        numbers = np.array([np.nan if value is None else value for value in expected])
        np.testing.assert_allclose(log.blocks[column][0], numbers, rtol=1e-5, atol=1e-9)
    dropped = [entry for entry in entries if entry.dropped]
    assert 0 < len(dropped) < len(entries)
    assert {(entry.branch_norm, entry.share) for entry in dropped} == {(0.0, 1.0)}


def test_the_ledger_says_how_many_branches_were_dropped() -> None:
    x, y = batch()
    model = build(**DEEP)
    found = flow.ledger(dropping_some(model), x, y)
    count = sum(entry.branch_norm == 0.0 for entry in found.blocks)
    assert f"stochastic depth dropped {count} of their branches" in found.caption()
    assert "dropped" not in flow.ledger(model.eval(), x, y).caption()
    assert "dropped" not in flow.ledger(build(norm=None, branch_scale=0.0), x, y).caption()


def test_layers_stand_in_the_order_of_the_model_whatever_was_dropped_first() -> None:
    for seed in range(4):
        log = record(dropping_some(build(20, stochastic_depth=0.1), seed), steps=6)
        own = [name for name, _ in build(20).named_modules() if name in log.layer_names]
        assert list(log.layer_names) == own


# --- parameters of a block itself ---


@pytest.mark.parametrize("options", [{"norm": None, "branch_scale": 0.0}, FIXUP], ids=str)
def test_the_parameters_of_a_block_itself_are_a_layer_of_its_name(options: dict[str, Any]) -> None:
    model = build(8, **options)
    (x, y), block = batch(), model.layer2[0]
    given: list[mr.Tensor] = []
    handle = block.register_forward_hook(lambda module, inputs, out: given.append(out))
    own = [p for name, p in block.named_parameters() if "." not in name]
    value = F.cross_entropy(model(mr.tensor(x)), mr.tensor(y))
    grads = mr.grad(value, [given[0], *own])
    handle.remove()
    (layer,) = [e for e in flow.signal(model, x, y, lr=0.1).layers if e.name == "layer2.0"]
    assert layer.std == pytest.approx(given[0].data.std(), rel=1e-5)
    assert layer.grad_norm == pytest.approx(np.linalg.norm(grads[0].data), rel=1e-5)
    size = np.sqrt(sum((p.data**2).sum() for p in own))
    step = np.sqrt(sum((g.data**2).sum() for g in grads[1:]))
    assert layer.weight_norm == pytest.approx(size)
    assert layer.weight_grad_norm == pytest.approx(step, rel=1e-5)
    assert layer.update_ratio == (pytest.approx(0.1 * step / size, rel=1e-5) if size else None)


def test_the_log_shows_the_scale_of_a_branch_grow_from_zero() -> None:
    model = build(8, norm=None, branch_scale=0.0)
    log = record(model, steps=3, lr=0.5)
    scale = log.layers["weight_norm"][:, log.layer_names.index("layer3.0")]
    assert scale[0] == 0.0 < min(scale[1:])
