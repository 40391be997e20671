"""Every instrument on networks with auxiliary heads: the loss is the one that training lowers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import flow, nn
from minires.errors import ContractError
from minires.result import Result
from minires.train import evaluate
from tests.flow.test_bad_use import INSTRUMENTS
from tests.flow.test_trace import make_batch, picture, same

HEADS = 2


def build(*, residual: bool = True, heads: int = HEADS, **options: Any) -> Any:
    mr.manual_seed(0)
    return mr.models.cifar_resnet(
        8, width=2, in_channels=1, num_classes=3, residual=residual, aux_heads=heads, **options
    )


def hand_summed(model: Any, x: Any, y: Any) -> mr.Tensor:
    """The losses of all outputs, written out."""
    main, (first, second) = model(mr.tensor(x))
    target = mr.tensor(y)
    auxiliary = F.cross_entropy(first, target) + F.cross_entropy(second, target)
    return F.cross_entropy(main, target) + 0.3 * auxiliary


def record(model: Any, x: Any, y: Any) -> Result:
    """Two recorded steps that do not move the weights."""
    with flow.untouched(model):
        optimizer = mr.optim.SGD(model.train().parameters(), lr=0.0)
        with flow.Recorder(model, every=1) as recorder:
            for _ in range(2):
                loss = nn.total_loss(F.cross_entropy, model(mr.tensor(x)), mr.tensor(y))
                loss.backward()
                optimizer.step()
                recorder.step(loss)
    return recorder.log


RUN: dict[str, Callable[[Any, Any, Any], Result]] = {
    **{name: instrument.run for name, instrument in INSTRUMENTS.items()},
    "Recorder": record,
    "landscape, a map": lambda m, x, y: flow.landscape(m, x, y, points=3, dimensions=2),
    "jacobian_lens, lanczos": lambda m, x, y: flow.jacobian_lens(m, x, method="lanczos"),
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("residual", [True, False], ids=["residual", "plain"])
@pytest.mark.parametrize("name", RUN)
def test_an_instrument_works_and_leaves_no_trace(name: str, residual: bool, training: bool) -> None:
    model = build(residual=residual).train(training)
    before = picture(model)
    if name == "sample_paths" and training:  # a single path ends at one head
        with pytest.raises(ContractError, match=r"a second head.* Use path_spectrum"):
            RUN[name](model, *make_batch())
        same(before, picture(model))
        return
    found = RUN[name](model, *make_batch())
    assert found.caption()
    same(before, picture(model))
    assert found.to_dict().get("max_error", 0.0) < 1e-3


@pytest.mark.parametrize("residual", [True, False], ids=["residual", "plain"])
def test_the_ledger_has_the_gradients_of_the_hand_summed_loss(residual: bool) -> None:
    x, y = make_batch()
    model = build(residual=residual).to("float64")
    x = x.astype(np.float64)
    inputs: list[mr.Tensor] = []
    for block in model.blocks():
        block.register_forward_pre_hook(lambda module, given: inputs.append(given[0]))
    loss = hand_summed(model, x, y)
    expected = [np.linalg.norm(g.data) for g in mr.grad(loss, inputs)]
    found = flow.ledger(model, x, y)
    assert found.loss == pytest.approx(float(loss), rel=1e-12)
    np.testing.assert_allclose([entry.grad_norm for entry in found.blocks], expected, rtol=1e-9)
    # Without heads the same network has other gradients, so that the test can tell.
    without = flow.ledger(build(residual=residual, heads=0).to("float64"), x, y)
    assert abs(without.blocks[0].grad_norm / expected[0] - 1.0) > 1e-3


LOSSES: dict[str, Callable[[Any, Any, Any], float]] = {
    "ledger": lambda m, x, y: flow.ledger(m, x, y).loss,
    "path_spectrum": lambda m, x, y: flow.path_spectrum(m, x, y).loss,
    "landscape": lambda m, x, y: flow.landscape(m, x, y, points=3).loss,
    "landscape, in the middle": lambda m, x, y: flow.landscape(m, x, y, points=3).losses[1],
    "hessian_eigenvalue": lambda m, x, y: flow.hessian_eigenvalue(m, x, y, steps=2).loss,
    "dial": lambda m, x, y: flow.dial(m, (x, y), (1.0,)).before[0].loss,
    "check_model": lambda m, x, y: flow.check_model(m, x, y).loss or 0.0,
    "signal": lambda m, x, y: flow.signal(m, x, y).loss,
    "Recorder": lambda m, x, y: record(m, x, y).to_dict()["loss"][0],
}


@pytest.mark.parametrize("name", LOSSES)
def test_in_training_the_loss_is_summed_and_in_evaluation_it_is_the_main_one(name: str) -> None:
    x, y = make_batch()
    model = build()
    with flow.untouched(model):
        expected = float(hand_summed(model, x, y))
    assert LOSSES[name](model, x, y) == pytest.approx(expected, rel=1e-5)
    if name == "Recorder":  # it watches training only
        return
    model.eval()
    alone = float(F.cross_entropy(model(mr.tensor(x)), mr.tensor(y)))
    assert alone != pytest.approx(expected, rel=1e-2)
    assert LOSSES[name](model, x, y) == pytest.approx(alone, rel=1e-5)


def test_the_error_is_that_of_the_main_output() -> None:
    x, y = make_batch()
    model = build()
    with flow.untouched(model):
        wrong = 100.0 * (model(mr.tensor(x))[0].data.argmax(axis=1) != y).mean()
    always = next(c for c in range(3) if 100.0 * (y != c).mean() != wrong)
    for head in (model.aux1, model.aux2):  # heads that always say the same, and err otherwise
        nn.init.constant_(head.fc.bias, -9.0)
        head.fc.bias.data[always] = 9.0
        nn.init.zeros_(head.fc.weight)
    assert flow.dial(model, (x, y), (1.0,)).before[0].error == wrong
    model.eval()
    assert flow.forward_lesion(model, (x, y)).error == evaluate(model, (x, y)).error


def test_training_with_heads_inside_an_instrument_lowers_the_summed_loss() -> None:
    x, y = make_batch()
    dial = flow.dial(build(), (x, y), (1.0,), train_epochs=3)
    assert dial.after[0].loss < dial.before[0].loss


def test_heads_that_rest_in_evaluation_mode_are_no_mistake_of_the_model() -> None:
    x, y = make_batch()
    assert not flow.check_model(build(), x, y).findings
    findings = flow.check_model(build().eval(), x, y).findings
    assert {finding.layer for finding in findings} == {"aux1.fc", "aux2.fc"}
    assert {finding.severity for finding in findings} == {"information"}
    assert all("evaluation mode" in finding.text for finding in findings)
