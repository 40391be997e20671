"""The training that experiments share."""

from __future__ import annotations

import minires as mr
from minires.experiments.training import train_network
from minires.train import Recipe


def test_every_step_is_told() -> None:
    mr.manual_seed(0)
    data = mr.data.load_digits()
    model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    steps: list[int] = []
    history = train_network(
        model,
        data,
        Recipe(epochs=1, batch_size=512),
        seed=0,
        label="",
        on_step=lambda step: steps.append(step.step),
    )
    assert steps == [1, 2, 3]
    assert history.lr == [0.1]
