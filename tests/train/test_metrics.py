"""Loss and error on data: in evaluation mode, whatever the batch size, and without a trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.errors import ShapeError
from minires.train import Evaluation, errors, evaluate


def make_model() -> nn.Sequential:
    mr.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)
    )


def make_data(n: int = 11) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    return draw.standard_normal((n, 1, 4, 4)).astype(np.float32), draw.integers(0, 4, n)


# --- errors ---


def test_errors_counts_rows_whose_largest_value_is_another_class() -> None:
    logits = mr.tensor([[1.0, 2.0, 0.0], [3.0, 0.0, 1.0], [0.0, 0.0, 5.0], [0.0, 9.0, 5.0]])
    assert errors(logits, mr.tensor([1, 0, 2, 2])) == 1
    assert errors(logits, mr.tensor([1, 0, 2, 1])) == 0
    assert errors(logits, mr.tensor([0, 1, 1, 0])) == 4


@pytest.mark.parametrize("row", [[np.nan] * 3, [np.nan, 0.0, 0.0], [0.0, 1.0, np.nan]])
@pytest.mark.parametrize("label", [0, 1, 2])
def test_a_row_with_a_nan_is_wrong_for_every_label(row: list[float], label: int) -> None:
    assert errors(mr.tensor([row]), mr.tensor([label])) == 1


def test_an_infinite_logit_is_a_number_like_any_other() -> None:
    logits = mr.tensor([[np.inf, 0.0], [-np.inf, 0.0]])
    assert errors(logits, mr.tensor([0, 1])) == 0


def test_errors_is_a_plain_number() -> None:
    assert type(errors(mr.tensor([[1.0, 0.0]]), mr.tensor([0]))) is int


# --- evaluate ---


def test_loss_and_error_are_those_of_one_pass_in_evaluation_mode() -> None:
    model, (x, y) = make_model(), make_data()
    model[1].running_mean.data[...] = 0.3
    found = evaluate(model, (x, y))
    logits = model.eval()(mr.tensor(x))
    assert found.loss == pytest.approx(F.cross_entropy(logits, mr.tensor(y)).item(), rel=1e-6)
    assert found.error == pytest.approx(100.0 * np.mean(logits.data.argmax(1) != y))
    training = F.cross_entropy(model.train()(mr.tensor(x)), mr.tensor(y)).item()
    assert abs(found.loss - training) > 1e-3


@pytest.mark.parametrize("batch_size", [1, 2, 4, 10, 11, 12, 10_000])
def test_the_batch_size_changes_neither_loss_nor_error(batch_size: int) -> None:
    model, data = make_model(), make_data()
    whole = evaluate(model, data, batch_size=11)
    found = evaluate(model, data, batch_size=batch_size)
    assert found.error == whole.error
    assert found.loss == pytest.approx(whole.loss, rel=1e-6)


def test_the_error_is_in_percent() -> None:
    class Says(nn.Module):
        def forward(self, x: Any) -> Any:
            return mr.tensor(np.eye(4, dtype=np.float32)[np.zeros(len(x), int)])

    labels = np.array([0, 0, 0, 1])
    assert evaluate(Says(), (np.zeros((4, 1)), labels)).error == 25.0


def test_nan_counts_as_wrong_and_the_loss_tells() -> None:
    model = make_model()
    model[4].weight.data[...] = np.nan
    with np.errstate(invalid="ignore"):
        found = evaluate(model, make_data())
    assert found.error == 100.0
    assert np.isnan(found.loss)


def test_another_loss_is_used() -> None:
    model, (x, _) = make_model(), make_data()
    target = np.ones((11, 4), np.float32)

    def loss(output: Any, y: Any) -> Any:
        return F.mse_loss(output, mr.ones(*output.shape))

    found = evaluate(model, (x, np.zeros(11, int)), loss=loss)
    expected = ((model.eval()(mr.tensor(x)).data - target) ** 2).mean()
    assert found.loss == pytest.approx(expected, rel=1e-6)


def modes(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


@pytest.mark.parametrize(
    "prepare",
    [lambda m: m.train(), lambda m: m.eval(), lambda m: m.train() and m[1].eval()],
    ids=["training", "evaluation", "mixed"],
)
def test_the_mode_is_put_back(prepare: Callable[[Any], Any]) -> None:
    model = make_model()
    prepare(model)
    before = modes(model)
    seen: list[bool] = []
    model[1].register_forward_hook(lambda module, inputs, out: seen.append(module.training))
    evaluate(model, make_data(), batch_size=4)
    assert seen == [False] * 3
    assert modes(model) == before


def test_the_mode_is_put_back_when_the_model_fails() -> None:
    model = make_model()
    model[1].eval()
    before = modes(model)
    with pytest.raises(ShapeError):
        evaluate(model, (np.zeros((3, 2, 4, 4), np.float32), np.zeros(3, int)))
    assert modes(model) == before


def test_nothing_is_recorded_and_no_buffer_or_gradient_changes() -> None:
    model = make_model()
    before = {name: value.tobytes() for name, value in model.state_dict().items()}
    outputs: list[Any] = []
    model.register_forward_hook(lambda module, inputs, out: outputs.append(out))
    evaluate(model, make_data())
    assert not outputs[0].requires_grad
    assert mr.is_grad_enabled()
    assert {name: value.tobytes() for name, value in model.state_dict().items()} == before
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_result_has_names() -> None:
    found = evaluate(make_model(), make_data())
    assert isinstance(found, Evaluation)
    assert found == (found.loss, found.error)
