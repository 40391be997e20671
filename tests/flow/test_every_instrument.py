"""What holds of every instrument: no trace, also if it fails half-way; any family, any dtype."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import flow, nn
from minires.autograd import guard
from minires.result import Result
from tests.flow.test_bad_use import INSTRUMENTS
from tests.flow.test_trace import Oops, failing_loss, make_batch, make_model, picture, same


def train_recorded(model: Any, x: Any, y: Any) -> Result:
    """Two recorded steps, the weights put back by hand: training is meant to change them."""
    with flow.untouched(model):
        optimizer = mr.optim.SGD(model.parameters(), lr=0.0)
        with flow.Recorder(model, every=1) as recorder:
            for _ in range(2):
                loss = F.cross_entropy(model.train()(mr.tensor(x)), mr.tensor(y))
                loss.backward()
                optimizer.step()
                recorder.step(loss)
    return recorder.log


def step_with_a_lesion(model: Any, x: Any, y: Any) -> Result:
    with flow.untouched(model), flow.lesioned(model, skip=0.0):
        F.cross_entropy(model(mr.tensor(x)), mr.tensor(y)).backward()
    return flow.ledger(model, x, y)


RUN: dict[str, Callable[[Any, Any, Any], Result]] = {
    **{name: instrument.run for name, instrument in INSTRUMENTS.items()},
    "Recorder": train_recorded,
    "lesioned": step_with_a_lesion,
}


def test_every_instrument_of_the_package_is_tested_here() -> None:
    functions = {n for n in flow.__all__ if n[0].islower()} - {"untouched", "shattering_by_depth"}
    assert set(RUN) == functions | {"Recorder"}


# With options that make an instrument do more to the model than it does by default.
THOROUGH: dict[str, Callable[[Any, Any, Any], Result]] = {
    **RUN,
    "dial, trained": lambda m, x, y: flow.dial(m, (x, y), (0, 1), train_epochs=1),
    "backward_lesion, noisy": lambda m, x, y: flow.backward_lesion(m, x, y, skip=0.5, noise=0.3),
    "landscape, a map": lambda m, x, y: flow.landscape(m, x, y, points=3, dimensions=2),
    "jacobian_lens, lanczos": lambda m, x, y: flow.jacobian_lens(m, x, method="lanczos"),
    "jacobian_lens, float64": lambda m, x, y: flow.jacobian_lens(m, x, dtype="float64"),
}


@pytest.mark.parametrize("training", [None, True, False], ids=["mixed", "training", "evaluation"])
@pytest.mark.parametrize("name", THOROUGH)
def test_an_instrument_leaves_everything_as_it_was(name: str, training: bool | None) -> None:
    model = make_model()
    if training is not None:
        model.train(training)
    before = picture(model)
    found = THOROUGH[name](model, *make_batch())
    same(before, picture(model))
    mode = {None: "mixed", True: "training", False: "evaluation"}[training]
    assert getattr(found, "mode", mode) == mode


@pytest.mark.parametrize("name", THOROUGH)
def test_the_graphs_of_an_instrument_are_gone_when_it_returns(name: str) -> None:
    model = make_model()
    gc.collect()
    before = len(guard._records)
    gc.disable()
    try:
        THOROUGH[name](model, *make_batch())
        assert len(guard._records) == before  # no array is held, and none is read-only
    finally:
        gc.enable()


@pytest.mark.parametrize("name", [n for n, i in INSTRUMENTS.items() if i.loss])
def test_a_loss_that_fails_leaves_everything_as_it_was(name: str) -> None:
    model = make_model()
    before = picture(model)
    with pytest.raises(Oops):
        INSTRUMENTS[name].run(model, *make_batch(), loss=failing_loss)
    same(before, picture(model))


class Stumbling:
    """A hook that counts the passes through a layer, and fails at one of them."""

    def __init__(self, at: int | None = None):
        self.count, self.at = 0, at

    def __call__(self, module: Any, inputs: Any, out: Any) -> None:
        self.count += 1
        if self.count == self.at:
            raise Oops

    def __deepcopy__(self, memo: Any) -> Any:
        return self


@pytest.mark.parametrize("where", ["layer2.0.bn1", "fc"])
@pytest.mark.parametrize("name", RUN)
def test_an_instrument_that_fails_half_way_leaves_everything_as_it_was(
    name: str, where: str
) -> None:
    counting = Stumbling()
    model = make_model()
    dict(model.named_modules())[where].register_forward_hook(counting)
    RUN[name](model, *make_batch())
    assert counting.count > 0
    for at in sorted({1, (counting.count + 1) // 2, counting.count}):
        model = make_model()
        dict(model.named_modules())[where].register_forward_hook(Stumbling(at))
        before = picture(model)
        with pytest.raises(Oops):
            RUN[name](model, *make_batch())
        same(before, picture(model))


@pytest.mark.parametrize("name", RUN)
def test_a_result_is_plain_data_a_table_a_figure_and_a_notebook_s_html(name: str) -> None:
    found = RUN[name](make_model().train(), *make_batch())
    json.dumps(found.to_dict(), allow_nan=False)
    headers, rows = found.rows()
    assert all(len(row) == len(headers) for row in rows)
    assert found.caption().endswith(".")
    assert found.plot().alt
    page = found._repr_html_()
    assert "<svg" in page
    assert "<table>" in page


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", RUN)
def test_the_same_call_gives_the_same_numbers(name: str, dtype: str) -> None:
    x, y = make_batch()
    texts = [
        json.dumps(RUN[name](make_model().train().to(dtype), x.astype(dtype), y).to_dict())
        for _ in range(2)
    ]
    assert texts[0] == texts[1]


# --- other families ---


class Conv(nn.ResidualBlock):
    """A block of a user's own: another structure, other names."""

    def __init__(self, channels: int):
        super().__init__()
        self.pre = nn.BatchNorm2d(channels)
        self.branch = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 1),
        )
        self.shortcut = nn.Conv2d(channels, channels, 1)
        self.activation = nn.ReLU()
        self.skip_scale = 0.7


def a_users_own() -> nn.Module:
    stem = nn.Conv2d(1, 3, 3, padding=1)
    return nn.Sequential(stem, Conv(3), Conv(3), nn.Flatten(), nn.Linear(192, 3))


FAMILIES: dict[str, Callable[[], nn.Module]] = {
    "plain": lambda: mr.models.cifar_plain(8, width=2, in_channels=1, num_classes=3),
    "pre-activation": lambda: mr.models.cifar_resnet(
        8, width=2, in_channels=1, num_classes=3, preactivation=True, shortcut="C"
    ),
    "bottleneck": lambda: mr.models.cifar_resnet(
        11, width=2, in_channels=1, num_classes=3, block="bottleneck", shortcut="B"
    ),
    "without norm": lambda: mr.models.cifar_resnet(
        8, width=2, in_channels=1, num_classes=3, norm=None
    ),
    "stack": lambda: nn.Sequential(
        nn.Flatten(), mr.models.stack(4, 8, kind="residual", in_channels=64, num_classes=3)
    ),
    "a user's own": a_users_own,
}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", RUN)
def test_an_instrument_works_on_every_family(name: str, family: str) -> None:
    mr.manual_seed(0)
    model = FAMILIES[family]().train()
    before = picture(model)
    assert RUN[name](model, *make_batch()).caption()
    same(before, picture(model))


ON_IMAGENET: dict[str, Callable[[Any, Any, Any], Result]] = {
    "ledger": flow.ledger,
    "path_spectrum": flow.path_spectrum,
    "backward_lesion": flow.backward_lesion,
    "signal": flow.signal,
    "check_model": flow.check_model,
}


def test_instruments_work_on_a_network_of_the_imagenet_family() -> None:
    """ResNet-18 at 64x64: stem with pooling, projections where the dimensions change."""
    mr.manual_seed(0)
    model = mr.models.resnet18()
    draw = np.random.default_rng(0)
    x = draw.standard_normal((2, 3, 64, 64)).astype(np.float32)
    for name, run in ON_IMAGENET.items():
        found = run(model, x, np.array([1, 2]))
        assert found.to_dict().get("max_error", 0.0) < 1e-5, name
    assert len(flow.ledger(model, x, np.array([1, 2])).blocks) == 8
