"""Auxiliary outputs: how their losses are added, and what of a network's output is the main one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn


def logits(seed: int) -> mr.Tensor:
    values = np.random.default_rng(seed).standard_normal((5, 3))
    return mr.tensor(values, requires_grad=True)


TARGET = mr.tensor([0, 2, 1, 1, 0])


def cross_entropy_by_hand(values: np.ndarray) -> float:
    rows = [-row[t] + np.log(np.exp(row).sum()) for row, t in zip(values, TARGET.data, strict=True)]
    return float(np.mean(rows))


@pytest.mark.parametrize("heads", [0, 1, 3])
def test_the_loss_is_the_main_one_and_three_tenths_of_each_auxiliary_one(heads: int) -> None:
    main, *others = [logits(seed) for seed in range(heads + 1)]
    found = nn.total_loss(F.cross_entropy, nn.Outputs(main, tuple(others)), TARGET)
    expected = cross_entropy_by_hand(main.data)
    expected += 0.3 * sum(cross_entropy_by_hand(other.data) for other in others)
    assert float(found) == pytest.approx(expected, rel=1e-12)


def test_each_output_gets_the_gradient_of_its_own_loss_with_its_weight() -> None:
    main, *others = outputs = [logits(seed) for seed in range(3)]
    nn.total_loss(F.cross_entropy, nn.Outputs(main, tuple(others)), TARGET).backward()
    for output, weight in zip(outputs, (1.0, 0.3, 0.3), strict=True):
        alone = mr.tensor(output.data, requires_grad=True)
        F.cross_entropy(alone, TARGET).backward()
        np.testing.assert_allclose(output.grad.data, weight * alone.grad.data, rtol=1e-12)


def test_without_auxiliary_outputs_it_is_the_loss_bit_for_bit() -> None:
    main = logits(0)
    for output in (main, nn.Outputs(main, ())):
        found = nn.total_loss(F.cross_entropy, output, TARGET)
        assert float(found) == float(F.cross_entropy(main, TARGET))
        assert nn.main_output(output) is main


@pytest.mark.parametrize(
    "output",
    [
        (logits(0), logits(1)),
        (logits(0),),
        (logits(0), (logits(1), logits(2))),  # as of a variational autoencoder, or an LSTM
        (logits(0), ()),
        [logits(0), ()],
        {"logits": 1},
    ],
    ids=["pair", "one", "tensor and tensors", "tensor and nothing", "list", "dict"],
)
def test_what_else_a_network_returns_is_between_it_and_its_loss(output: Any) -> None:
    seen: list[Any] = []

    def loss(given: Any, target: Any) -> Any:
        seen.append(given)
        return mr.tensor(1.0)

    assert float(nn.total_loss(loss, output, TARGET)) == 1.0
    assert len(seen) == 1
    assert seen[0] is output
    assert nn.main_output(output) is output


def test_outputs_unpack_and_pass_a_backward_hook_as_what_they_are() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.other = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: Any) -> Any:
            return nn.Outputs(self.one(x), (self.other(x),))

    model = Two()
    model.register_full_backward_hook(lambda module, grad_input, grad_output: None)
    main, (other,) = out = model(mr.randn(5, 3))
    assert isinstance(out, nn.Outputs)
    assert out.main is main
    assert out.auxiliary[0] is other
