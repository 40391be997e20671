"""The recorder: the numbers of ledger and signal, taken from training without changing a bit."""

from __future__ import annotations

import copy
import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.autograd import guard
from minires.data import DataLoader
from minires.errors import ContractError, ShapeError, UsageError
from minires.flow import ledger
from minires.flow.recorder import Recorder
from minires.flow.responses import signal
from minires.train import fit
from tests.flow.test_trace import Oops, make_model, picture, same

FAMILIES: dict[str, dict[str, Any]] = {
    "residual": {"depth": 14},
    "projections": {"depth": 8, "shortcut": "C"},
    "pre-activation": {"depth": 14, "preactivation": True, "shortcut": "B"},
    "bottleneck": {"depth": 11, "block": "bottleneck"},
    "plain": {"depth": 8, "residual": False},
    "plain pre-activation": {"depth": 8, "residual": False, "preactivation": True},
    "without norm": {"depth": 8, "norm": None, "init_scale": 0.5},
    "a ReLU behind the fork": {"depth": 14, "norm": None, "residual": False, "preactivation": True},
}


def build(dtype: str = "float32", **options: Any) -> Any:
    mr.manual_seed(0)
    settings = {"depth": 8, "width": 2, "in_channels": 1, "num_classes": 3, **options}
    return mr.models.cifar_resnet(**settings).to(dtype)


def batches(count: int = 5, dtype: str = "float32") -> list[tuple[mr.Tensor, mr.Tensor]]:
    draw = np.random.default_rng(2)
    return [
        (
            mr.tensor(draw.standard_normal((6, 1, 8, 8)).astype(dtype)),
            mr.tensor(draw.integers(0, 3, 6)),
        )
        for _ in range(count)
    ]


def optimizer_for(model: nn.Module) -> Any:
    return mr.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)


def one_step(model: nn.Module, optimizer: Any, x: Any, y: Any) -> mr.Tensor:
    optimizer.zero_grad()
    loss = F.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


def train(model: nn.Module, recorder: Recorder | None = None, **loading: Any) -> None:
    optimizer = optimizer_for(model)
    for x, y in batches(**loading):
        loss = one_step(model, optimizer, x, y)
        if recorder is not None:
            recorder.step(loss)


def bits(model: nn.Module) -> dict[str, bytes]:
    return {name: value.tobytes() for name, value in model.state_dict().items()}


def near(found: list[float | None], expected: list[float | None]) -> None:
    """The same numbers, and None in the same places."""
    assert [value is None for value in found] == [value is None for value in expected]
    np.testing.assert_allclose(
        [value for value in found if value is not None],
        [value for value in expected if value is not None],
        rtol=1e-9,
        atol=1e-12,
    )


# --- the numbers ---


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recorded_step_has_the_numbers_of_ledger_and_signal(family: str) -> None:
    model = build("float64", **FAMILIES[family])
    optimizer = optimizer_for(model)
    for x, y in batches(2, "float64"):
        one_step(model, optimizer, x, y)
    (x, y), *_ = batches(1, "float64")
    edges, layers = ledger(model, x, y), signal(model, x, y)
    before = model.state_dict()
    with Recorder(model) as recorder:
        recorder.step(one_step(model, optimizer, x, y))
    log = recorder.log.to_dict()

    assert log["steps"] == [1]
    assert log["loss"] == [pytest.approx(edges.loss)]
    assert log["blocks"]["name"] == [entry.name for entry in edges.blocks]
    assert log["blocks"]["kind"] == [entry.kind for entry in edges.blocks]
    for column in ("skip_norm", "branch_norm", "share", "grad_norm", "grad_rms", "forward_ratio"):
        expected = [getattr(entry, column) for entry in edges.blocks]
        near(log["blocks"][column][0], expected)
    cosines = [entry.cosine for entry in edges.blocks]
    near(log["blocks"]["cosine"][0], cosines)
    assert log["layers"]["name"] == [layer.name for layer in layers.layers]
    for column in ("mean", "std", "dead", "grad_norm", "weight_norm"):
        expected = [getattr(layer, column) for layer in layers.layers]
        near(log["layers"][column][0], expected)
    after = model.state_dict()
    for name, ratio in zip(log["layers"]["name"], log["layers"]["update_ratio"][0], strict=True):
        own = [n for n in (f"{name}.weight", f"{name}.bias") if n in before]
        change = np.concatenate([(after[n] - before[n]).ravel() for n in own])
        size = np.linalg.norm(np.concatenate([before[n].ravel() for n in own]))
        assert ratio == pytest.approx(np.linalg.norm(change) / size, rel=1e-9)
        assert ratio > 0
    assert 0 <= log["max_error"] < 1e-12


def test_numbers_in_float32_are_near_those_in_float64() -> None:
    logs = []
    for dtype in ("float32", "float64"):
        model = build(dtype)
        with Recorder(model) as recorder:
            train(model, recorder, count=1, dtype=dtype)
        logs.append(recorder.log)
    for name in ("skip_norm", "branch_norm", "grad_norm"):
        np.testing.assert_allclose(logs[0].blocks[name], logs[1].blocks[name], rtol=1e-3)
    assert 0 < logs[0].max_error < 1e-5


# --- it changes nothing ---


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", FAMILIES)
def test_weights_have_the_same_bits_with_and_without_it(family: str, dtype: str) -> None:
    alone = build(dtype, **FAMILIES[family])
    train(alone, dtype=dtype)
    watched = build(dtype, **FAMILIES[family])
    with Recorder(watched, every=1) as recorder:
        train(watched, recorder, dtype=dtype)
    assert len(recorder.log.steps) == 5
    assert bits(watched) == bits(alone)


class WithHead(nn.Module):
    """Two blocks, and a second head that reads what lies between them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = build()
        self.early = nn.Linear(64, 3)

    def forward(self, x: Any) -> Any:
        u = F.relu(self.net.bn1(self.net.conv1(x)))
        early = self.early(F.flatten(u[:, :1], 1))
        u = self.net.layer1(u)
        late = self.early(F.flatten(u[:, :1], 1))
        u = self.net.layer3(self.net.layer2(u))
        return self.net.fc(F.flatten(F.adaptive_avg_pool2d(u, 1), 1)) + early + late


def test_the_bits_are_the_same_where_a_head_reads_what_is_at_a_fork() -> None:
    def run(look: bool) -> Any:
        mr.manual_seed(0)
        model = WithHead()
        if not look:
            train(model)
            return bits(model)
        with Recorder(model, every=1) as recorder:
            train(model, recorder)
        assert recorder.log.max_error < 1e-5  # what the heads send back is not booked as an error
        return bits(model)

    assert run(True) == run(False)


def test_afterwards_there_are_no_hooks_and_no_graph_is_held() -> None:
    model = make_model().train()
    x, y = batches(1)[0]
    gc.collect()
    held = len(guard._records)
    before = picture(model)
    tables = {name: dict(vars(m)) for name, m in model.named_modules()}
    with Recorder(model, every=1) as recorder:
        for _ in range(2):
            F.cross_entropy(model(x), y).backward()
            recorder.step()
        gc.disable()
        try:
            F.cross_entropy(model(x), y)  # a pass that nobody goes back through
            assert len(guard._records) == held
        finally:
            gc.enable()
    after = picture(model)
    for name, m in model.named_modules():
        assert tables[name].keys() == vars(m).keys()
        assert before[f"module {name}"] == after[f"module {name}"]
        for key in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks"):
            assert vars(m)[key] is tables[name][key]
    assert recorder.log.steps == (1, 2)


def test_an_exception_takes_the_hooks_off_and_leaves_the_log() -> None:
    model = build()
    before = picture(model)
    recorder = Recorder(model, every=1)

    def fail(*_: Any) -> None:
        raise Oops

    def run() -> None:
        with recorder:
            train(model, recorder, count=2)
            model.layer3[0].conv2.forward = fail
            train(model, recorder, count=1)

    with pytest.raises(Oops):
        run()
    del vars(model.layer3[0].conv2)["forward"]
    for name in ("module ", "module layer1.0.conv1", "module layer3.0.conv2"):
        assert picture(model)[name]["tables"] == before[name]["tables"]
    assert recorder.log.steps == (1, 2)
    seen: list[Any] = []

    class Watching(nn.Observer):
        def fork(self, block: Any, x: Any, u: Any) -> Any:
            seen.append(block)
            return u, u

    with nn.observe(Watching()):
        model(batches(1)[0][0])
    assert len(seen) == 3


def test_a_failed_pass_that_the_loop_survives_is_not_recorded() -> None:
    model = build()
    optimizer = optimizer_for(model)
    x, y = batches(1)[0]
    with Recorder(model, every=1) as recorder:
        with pytest.raises(mr.errors.ShapeError):
            model(mr.zeros(2, 5, 8, 8))
        recorder.step(one_step(model, optimizer, x, y))
    assert recorder.log.steps == (1,)
    assert len(recorder.log.layer_names) == len(set(recorder.log.layer_names))
    assert not any(module._forward_hooks for module in model.modules())


# --- which steps ---


@pytest.mark.parametrize(
    ("every", "steps", "expected"),
    [
        (50, None, (1,)),
        (4, None, (1, 4, 8)),
        (4, 11, (1, 4, 8, 11)),
        (1, None, tuple(range(1, 12))),
        ([2, 3, 99], None, (2, 3)),
        (range(5, 8), 11, (5, 6, 7)),
        (lambda step: step > 9, None, (10, 11)),
        (lambda step: False, None, ()),
    ],
)
def test_the_chosen_steps_are_recorded(every: Any, steps: int | None, expected: Any) -> None:
    block = nn.ResidualBlock()
    block.branch = nn.Linear(2, 2)
    optimizer = mr.optim.SGD(block.parameters(), lr=0.1)
    x, y = mr.ones(2, 2), mr.tensor([0, 1])
    with Recorder(block, every=every, steps=steps) as recorder:
        for _ in range(11):
            recorder.step(one_step(block, optimizer, x, y))
    assert recorder.log.steps == expected


def test_only_recorded_passes_have_hooks_on_layers_and_places_at_forks() -> None:
    model = build()
    seen: list[tuple[int, bool]] = []

    def look(module: Any, inputs: Any) -> None:
        seen.append((len(module._forward_hooks), inputs[0].node.name == "Alias"))

    model.layer1[0].conv1.register_forward_pre_hook(look)
    with Recorder(model, every=3) as recorder:
        train(model, recorder, count=4)
    assert seen == [(1, True), (0, False), (1, True), (0, False)]


# --- what is a step ---


def test_other_passes_in_the_loop_are_not_recorded() -> None:
    def run(disturb: bool) -> Any:
        model = build()
        optimizer = optimizer_for(model)
        with Recorder(model, every=1) as recorder:
            for x, y in batches():
                others: list[Callable[[], Any]] = [
                    lambda: ledger(model, x, y),  # noqa: B023
                    lambda: signal(model, x, y),  # noqa: B023
                    lambda: mr.train.evaluate(model, (x.data, y.data)),  # noqa: B023
                ]
                for other in others if disturb else ():
                    other()
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                for other in others if disturb else ():
                    other()
                loss.backward()
                for other in others if disturb else ():
                    other()
                optimizer.step()
                recorder.step(loss)
        return recorder.log, bits(model)

    (quiet, weights), (disturbed, others) = run(False), run(True)
    assert weights == others
    difference = quiet.compare(disturbed)
    assert difference.largest.difference == 0.0
    assert len(difference.steps) == 5


def test_with_gradient_accumulation_the_first_pass_is_recorded_and_the_whole_update() -> None:
    model = build("float64")
    optimizer = optimizer_for(model)
    (x, y), (more, labels) = batches(2, "float64")
    expected = ledger(model, x, y)
    before = model.state_dict()
    with Recorder(model, every=1) as recorder:
        F.cross_entropy(model(x), y).backward()
        loss = F.cross_entropy(model(more), labels)
        loss.backward()
        optimizer.step()
        recorder.step(loss)
    log = recorder.log
    assert log.steps == (1,)
    np.testing.assert_allclose(log.blocks["grad_norm"][0], [e.grad_norm for e in expected.blocks])
    change = np.linalg.norm(model.conv1.weight.data - before["conv1.weight"])
    ratio = change / np.linalg.norm(before["conv1.weight"])
    assert log.layers["update_ratio"][0, 0] == pytest.approx(ratio)


def test_of_passes_with_one_backward_pass_the_last_is_recorded() -> None:
    model = build("float64")
    (x, y), (more, labels) = batches(2, "float64")
    model.eval()  # no running statistics in between
    model.training = True
    expected = ledger(model, more, labels)
    with Recorder(model) as recorder:
        (F.cross_entropy(model(x), y) + F.cross_entropy(model(more), labels)).backward()
        recorder.step()
    norms = [entry.branch_norm for entry in expected.blocks]
    np.testing.assert_allclose(recorder.log.blocks["branch_norm"][0], norms)


def test_of_two_backward_passes_through_one_graph_the_first_is_recorded() -> None:
    model = build("float64")
    x, y = batches(1, "float64")[0]
    expected = ledger(model, x, y)
    with Recorder(model) as recorder:
        loss = F.cross_entropy(model(x), y)
        loss.backward(retain_graph=True)
        (loss * 5.0).backward()
        recorder.step(loss)
    norms = [entry.skip_norm for entry in expected.blocks]
    np.testing.assert_allclose(recorder.log.blocks["skip_norm"][0], norms)


def test_a_step_without_a_backward_pass_is_counted_and_not_recorded() -> None:
    model = build()
    optimizer = optimizer_for(model)
    with Recorder(model, every=1) as recorder:
        for i, (x, y) in enumerate(batches(3)):
            if i == 1:
                recorder.step(F.cross_entropy(model(x), y))
            else:
                recorder.step(one_step(model, optimizer, x, y))
    assert recorder.log.steps == (1, 3)


def test_a_copy_of_the_model_is_another_model() -> None:
    model = build("float64")
    x, y = batches(1, "float64")[0]
    expected = ledger(model, x, y)
    with Recorder(model, every=1) as recorder:
        twin = copy.deepcopy(model)
        loss = F.cross_entropy(model(x), y)
        F.cross_entropy(twin(x * 2.0), y).backward()
        loss.backward()
        recorder.step(loss)
    assert recorder.log.steps == (1,)
    assert recorder.log.block_names == tuple(entry.name for entry in expected.blocks)
    near(recorder.log.blocks["share"][0].tolist(), [entry.share for entry in expected.blocks])


def test_two_recorders_watch_two_models_in_one_loop() -> None:
    def alone(model: Any) -> Any:
        with Recorder(model, every=2) as recorder:
            train(model, recorder)
        return recorder.log

    expected = alone(build()), alone(build(residual=False))
    one, other = build(), build(residual=False)
    optimizers = optimizer_for(one), optimizer_for(other)
    with Recorder(one, every=2) as first, Recorder(other, every=2) as second:
        for x, y in batches():
            first.step(one_step(one, optimizers[0], x, y))
            second.step(one_step(other, optimizers[1], x, y))
    for log, own in zip((first.log, second.log), expected, strict=True):
        assert log.compare(own).largest.difference == 0.0
        assert log.to_dict() == own.to_dict()


class Sometimes(nn.Module):
    """Three blocks: the middle one runs in every other pass only, and the last twice."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.ResidualBlock() for _ in range(3))
        for block in self.blocks:
            block.branch = nn.Linear(3, 3)
        self.passes = [0]

    def forward(self, x: Any) -> Any:
        self.passes[0] += 1
        x = self.blocks[0](x)
        if self.passes[0] % 2 == 0:
            x = self.blocks[1](x)
        return self.blocks[2](self.blocks[2](x))


def test_what_did_not_run_has_no_values_and_what_ran_twice_has_two_rows() -> None:
    mr.manual_seed(0)
    model = Sometimes()
    optimizer = optimizer_for(model)
    with Recorder(model, every=1) as recorder:
        for _ in range(3):
            recorder.step(one_step(model, optimizer, mr.ones(2, 3), mr.tensor([0, 1])))
    log = recorder.log.to_dict()
    assert log["blocks"]["name"] == ["blocks.0", "blocks.1", "blocks.2", "blocks.2"]
    assert [row[1] is None for row in log["blocks"]["branch_norm"]] == [True, False, True]
    assert log["layers"]["name"] == [f"blocks.{i}.branch" for i in range(3)]
    assert [row[1] is None for row in log["layers"]["std"]] == [True, False, True]
    assert log["blocks"]["grad_norm"][0][0] is None  # training needs no gradient by the images


# --- the training loop ---


def test_fit_calls_it_with_the_loss_of_each_batch() -> None:
    x = np.concatenate([images.data for images, _ in batches()])
    y = np.concatenate([labels.data for _, labels in batches()])

    def run(look: bool) -> Any:
        model = build()
        loader = DataLoader((x, y), batch_size=8, shuffle=True, seed=1)
        given: dict[str, Any] = {"epochs": 2, "evaluate_on": {"train": (x, y)}}
        if not look:
            fit(model, loader, optimizer_for(model), **given)
            return None, bits(model)
        with Recorder(model, every=3, steps=2 * len(loader)) as recorder:
            fit(model, loader, optimizer_for(model), on_step=recorder, **given)
        return recorder.log, bits(model)

    (log, watched), (_, alone) = run(True), run(False)
    assert watched == alone
    assert log.steps == (1, 3, 6, 8)
    model = build()
    optimizer = optimizer_for(model)
    loader = DataLoader((x, y), batch_size=8, shuffle=True, seed=1)
    losses = [one_step(model, optimizer, *pair).item() for pair in loader]
    assert log.loss[:2].tolist() == [losses[0], losses[2]]


# --- bad use ---


def test_bad_settings_are_refused() -> None:
    model = build()
    calls: list[tuple[type[Exception], str, Any]] = [
        (ContractError, "Recorder: a list is no model", lambda: Recorder([])),  # type: ignore[arg-type]
        (ContractError, "no residual block", lambda: Recorder(nn.Linear(2, 2))),
        *(
            (UsageError, "every must be", lambda every=every: Recorder(model, every=every))
            for every in (0, -1, 2.5, True, "all", [], [0, 1], [1.5], None)
        ),
        *(
            (UsageError, "steps must be", lambda steps=steps: Recorder(model, steps=steps))
            for steps in (0, 1.5, "10")
        ),
    ]
    for error, text, call in calls:
        with pytest.raises(error, match=text):
            call()


def test_it_watches_inside_its_block_only_and_once() -> None:
    recorder = Recorder(build())
    with pytest.raises(UsageError, match="inside its with block only"):
        recorder.step(1.0)
    with recorder, pytest.raises(UsageError, match="watching already"):
        recorder.__enter__()
    with pytest.raises(UsageError, match="inside its with block only"):
        recorder.step(1.0)


def test_a_loop_that_never_ends_a_step_is_told() -> None:
    model = build()
    with (
        pytest.raises(UsageError, match=r"recorder\.step\(loss\) was never called"),
        Recorder(model),
    ):
        train(model)


@pytest.mark.parametrize("how", ["other model", "evaluation", "no_grad", "observed"])
def test_a_step_to_be_recorded_in_which_the_model_did_not_train_is_told(how: str) -> None:
    model, x = build(), batches(1)[0][0]
    with Recorder(model) as recorder:
        if how == "other model":
            build()(x)
        elif how == "evaluation":
            model.eval()(x)
        elif how == "no_grad":
            with mr.no_grad():
                model(x)
        else:
            with nn.observe(nn.Observer()):
                model(x)
        with pytest.raises(UsageError, match="step 1 is to be recorded, but the model did not run"):
            recorder.step(1.0)


def test_it_does_not_stand_in_front_of_another_observer() -> None:
    class Looking(nn.Observer):
        pass

    with nn.observe(Looking()), pytest.raises(UsageError, match="observes the blocks already"):
        Recorder(build()).__enter__()


def test_a_loss_must_be_a_number_and_a_call_a_step() -> None:
    model = build()
    with Recorder(model) as recorder:
        F.cross_entropy(model(batches(1)[0][0]), batches(1)[0][1]).backward()
        for bad in (mr.ones(2), [1.0, 2.0], "low"):
            with pytest.raises(ShapeError, match="single number"):
                recorder.step(bad)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=r"called by train\.fit, with a Step"):
            recorder(0.5)  # type: ignore[arg-type]
        recorder.step(np.float32(0.5))
    assert recorder.log.loss.tolist() == [0.5]


def test_an_instrument_can_look_at_the_model_after_the_block_and_all_is_as_it_was() -> None:
    model = build()
    with Recorder(model, every=1) as recorder:
        train(model, recorder, count=2)
    before = picture(model)
    ledger(model, *batches(1)[0])
    same(before, picture(model))
