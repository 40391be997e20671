"""Instruments leave no trace: everything is as it was before, whatever happened in between."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import kernels, nn, rng
from minires.autograd import guard
from minires.device import to_numpy
from minires.flow import ledger, untouched


class Oops(Exception):
    """Raised on purpose, in the middle."""


def make_model() -> Any:
    """A network with gradients, hooks, a frozen parameter and mixed modes."""
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(8, width=2, in_channels=1, num_classes=3, shortcut="B")
    x, y = make_batch()
    F.cross_entropy(model(mr.tensor(x)), mr.tensor(y)).backward()
    model.layer1[0].bn1.eval()
    model.layer3.eval()
    model.fc.bias.requires_grad_(False)
    model.conv1.register_forward_hook(lambda module, inputs, out: None)
    model.layer2.register_forward_pre_hook(lambda module, inputs: None)
    model.conv1.weight.register_hook(lambda grad: None)
    model.note = "mine"
    return model


def make_batch() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(1)
    return draw.standard_normal((4, 1, 8, 8)).astype(np.float32), np.array([0, 1, 2, 0])


def picture(model: nn.Module) -> dict[str, Any]:
    """Everything that must be as before: objects by identity, numbers by their bits."""
    if guard._records:
        gc.collect()  # a caught exception holds the frames that hold the graph
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    shown: dict[str, Any] = {}
    for name, tensor in tensors.items():
        node, grad = tensor.node, tensor.grad
        shown[name] = {
            "tensor": tensor,
            "array": id(tensor.data),
            "values": to_numpy(tensor.data).tobytes(),
            "dtype": tensor.dtype,
            "writable": getattr(tensor.data.flags, "writeable", None),  # CuPy has none
            "node": node,
            "node size": None if node is None else (node.shape, node.dtype),
            "tensor hooks": None if node is None else dict(node.hooks or {}),
            "grad": grad,
            "grad array": None if grad is None else id(grad.data),
            "grad values": None if grad is None else to_numpy(grad.data).tobytes(),
        }
    for name, module in model.named_modules():
        shown[f"module {name}"] = {
            "module": module,
            "training": module.training,
            "attributes": {k: v for k, v in vars(module).items() if type(v) is not dict},
            "tables": {k: (id(v), dict(v)) for k, v in vars(module).items() if type(v) is dict},
        }
    shown["generator"] = (id(rng.default_generator()), rng.get_state())
    shown["rung"] = kernels.current()
    shown["recording"] = mr.is_grad_enabled()
    shown["errors"] = np.geterr()
    shown["threads"] = kernels.get_num_threads()
    shown["held arrays"] = len(guard._records)
    return shown


def same(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert list(before) == list(after)
    for key, value in before.items():
        if isinstance(value, dict):
            for what, old in value.items():
                new = after[key][what]
                if isinstance(old, mr.Tensor):
                    assert new is old, (key, what)
                else:
                    assert new == old, (key, what)
        else:
            assert after[key] == value, key


def test_the_picture_sees_each_kind_of_change() -> None:
    """The tests below are worth as much as ``same``: it must be able to fail."""
    changes: list[Callable[[Any], Any]] = [
        lambda m: m.conv1.weight.data.__setitem__(0, 0),
        lambda m: m.bn1.num_batches_tracked.data.__iadd__(1),
        lambda m: setattr(m.conv1.weight, "data", m.conv1.weight.data.copy()),
        lambda m: setattr(m.conv1.weight, "grad", None),
        lambda m: m.conv1.weight.grad.data.__imul__(2),
        lambda m: m.conv1.weight.requires_grad_(False),
        lambda m: m.conv1.weight.register_hook(lambda grad: grad),
        lambda m: setattr(m.bn1, "running_mean", mr.zeros(2)),
        lambda m: m.layer1[0].bn1.train(),
        lambda m: m.conv1.register_forward_hook(print),
        lambda m: setattr(m, "extra", nn.ReLU()),
        lambda m: setattr(m, "note", "changed"),
        lambda m: mr.randn(1),
    ]
    for change in changes:
        model = make_model()
        before = picture(model)
        same(before, picture(model))
        change(model)
        with pytest.raises(AssertionError):
            same(before, picture(model))


@pytest.mark.parametrize("training", [None, True, False], ids=["mixed", "training", "evaluation"])
def test_a_ledger_leaves_everything_as_it_was(training: bool | None) -> None:
    model = make_model()
    if training is not None:
        model.train(training)
    before = picture(model)
    ledger(model, *make_batch())
    same(before, picture(model))


def test_a_ledger_touches_neither_the_batch_nor_its_gradient() -> None:
    x, y = make_batch()
    images, labels = mr.tensor(x, requires_grad=True), mr.tensor(y)
    (images * 2.0).sum().backward()
    node, grad = images.node, images.grad
    ledger(make_model(), images, labels)
    gc.collect()
    assert images.node is node
    assert images.grad is grad
    assert (grad.data == 2.0).all()
    assert images.data.tobytes() == x.tobytes()
    assert images.data.flags.writeable
    assert labels.data.tobytes() == y.tobytes()


def test_the_graphs_of_a_ledger_are_gone_when_it_returns() -> None:
    model = make_model()
    gc.collect()
    before = len(guard._records)
    gc.disable()
    try:
        found = ledger(model, *make_batch())
        assert len(guard._records) == before  # no array is held, and none is read-only
    finally:
        gc.enable()
    assert found.blocks[0].branch.flags.writeable


@pytest.mark.parametrize("rung", ["reference", "im2col"])
def test_a_ledger_runs_on_the_rung_in_use_and_leaves_it(rung: str) -> None:
    model, seen = make_model(), []
    model.fc.register_forward_hook(lambda module, inputs, out: seen.append(kernels.current()))
    with kernels.use(rung):
        before = picture(model)
        ledger(model, *make_batch())
        same(before, picture(model))
    assert seen == [rung, rung]
    assert kernels.current() == "fast"


def test_training_goes_on_as_if_no_ledger_had_been_taken() -> None:
    def train(look: bool) -> dict[str, np.ndarray]:
        model = make_model().train()
        optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        x, y = make_batch()
        for _ in range(3):
            if look:
                ledger(model, x, y)
            optimizer.zero_grad()
            F.cross_entropy(model(mr.tensor(x)), mr.tensor(y)).backward()
            if look:  # also between backward and step
                ledger(model, x, y)
            optimizer.step()
        return model.state_dict()

    watched, alone = train(True), train(False)
    for name, value in alone.items():
        assert watched[name].tobytes() == value.tobytes(), name


def test_a_graph_that_waits_for_its_backward_survives_a_ledger() -> None:
    def gradients(look: bool) -> list[bytes]:
        model = make_model().train()
        model.zero_grad()
        x, y = make_batch()
        loss = F.cross_entropy(model(mr.tensor(x)), mr.tensor(y))
        if look:
            ledger(model.eval(), x, y)  # in evaluation mode no running statistics move
        loss.backward()
        return [p.grad.data.tobytes() for p in model.parameters() if p.grad is not None]

    assert gradients(True) == gradients(False) != []


# --- exceptions half-way ---


def failing_loss(output: Any, target: Any) -> Any:
    raise Oops


class FailsLater(nn.ResidualBlock):
    """Draws random numbers, changes its buffer, and fails when it is called for the nth time."""

    def __init__(self, nth: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(1)
        self.calls, self.nth = [], nth
        self.eval()

    def branch(self, u: Any) -> Any:
        self.train()
        self.calls.append(1)
        u = self.norm(u) + mr.randn(*u.shape)
        if len(self.calls) == self.nth:
            raise Oops
        return u


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_block_that_fails_half_way_leaves_everything_as_it_was(nth: int) -> None:
    block = FailsLater(nth)
    model = nn.Sequential(block, block, nn.Flatten(), nn.Linear(64, 3))
    before = picture(model)
    x, y = make_batch()
    with pytest.raises(Oops):
        ledger(model, x, y)
    assert len(block.calls) == nth  # a ledger runs the two blocks twice
    same(before, picture(model))


def test_a_loss_that_fails_leaves_everything_as_it_was() -> None:
    model = make_model()
    before = picture(model)
    with pytest.raises(Oops):
        ledger(model, *make_batch(), loss=failing_loss)
    same(before, picture(model))


def test_an_error_of_the_ledger_itself_leaves_everything_as_it_was() -> None:
    model = make_model()
    before = picture(model)
    with pytest.raises(mr.errors.ShapeError):
        ledger(model, *make_batch(), loss=lambda output, target: output)
    same(before, picture(model))


def test_after_a_failure_no_observer_looks_at_the_next_pass() -> None:
    model = make_model()
    with pytest.raises(Oops):
        ledger(model, *make_batch(), loss=failing_loss)
    seen: list[Any] = []

    class Watching(nn.Observer):
        def fork(self, block: Any, x: Any, u: Any) -> Any:
            seen.append(block)
            return u, u

    x = mr.tensor(make_batch()[0])
    model(x)
    assert seen == []
    with nn.observe(Watching()):
        model(x)
    assert len(seen) == 3


# --- models that change themselves while they run ---


class Restless(nn.Module):
    """Calls ``change`` on itself in each forward pass."""

    def __init__(self, change: Callable[[Any], Any]):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1))
        self.register_buffer("count", mr.zeros(1))
        self.register_buffer("absent", None)
        self.scale = nn.Parameter(mr.ones(1))
        self.inner = Plus()
        self.handle = self.register_forward_hook(lambda module, inputs, out: None)
        self.head = nn.Linear(64, 3)
        self.change: Any = change

    def forward(self, x: Any) -> Any:
        self.change(self)
        return self.head(F.flatten(self.inner(self.block(x)), 1))


class Plus(nn.ResidualBlock):
    """The smallest block with a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(mr.ones(1))

    def branch(self, u: Any) -> Any:
        return u * self.weight


CHANGES: dict[str, Callable[[Any], Any]] = {
    "buffer in place": lambda m: m.count.data.__iadd__(1),
    "buffer replaced": lambda m: setattr(m, "count", m.count + 1.0),
    "buffer filled in": lambda m: setattr(m, "absent", mr.ones(2)),
    "buffer removed": lambda m: vars(m)["_buffers"].pop("count", None),
    "array of a buffer replaced": lambda m: setattr(m.count, "data", m.count.data + 1),
    "buffer with a gradient": lambda m: m.count.requires_grad_(),
    "buffer nan": lambda m: m.count.data.fill(np.nan),
    "new buffer": lambda m: m.register_buffer("more", mr.zeros(1)),
    "mode": lambda m: m.train(not m.training),
    "mode of a part": lambda m: m.head.eval(),
    "parameter in place": lambda m: nn.init.zeros_(m.scale),
    "parameter replaced": lambda m: setattr(m, "scale", nn.Parameter(mr.zeros(1))),
    "parameter frozen": lambda m: m.scale.requires_grad_(False),
    "gradient set": lambda m: setattr(m.scale, "grad", mr.ones(1)),
    "gradients dropped": lambda m: m.zero_grad(),
    "other dtype": lambda m: m.scale.__class__.data.fset(m.scale, m.scale.data.astype("float64")),
    "new module": lambda m: setattr(m, "extra", nn.BatchNorm2d(2)),
    "module replaced": lambda m: setattr(m, "block", nn.Conv2d(1, 1, 1)),
    "attribute": lambda m: setattr(m, "calls", getattr(m, "calls", 0) + 1),
    "hook added": lambda m: m.head.register_forward_hook(lambda module, inputs, out: None),
    "hook removed": lambda m: m.handle.remove(),
    "random numbers": lambda m: mr.randn(3),
    "seed": lambda m: mr.manual_seed(9),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_model_that_changes_itself_is_put_back(what: str) -> None:
    mr.manual_seed(0)
    model = Restless(CHANGES[what])
    x, y = make_batch()
    for parameter in (model.scale, model.head.weight):
        parameter.grad = mr.ones(*parameter.shape)
    before = picture(model)
    ledger(model, x, y)
    same(before, picture(model))

    model.forward = lambda x: (CHANGES[what](model), failing_loss(x, None))
    before = picture(model)
    with pytest.raises(Oops):
        ledger(model, x, y)
    same(before, picture(model))


def test_a_handle_still_removes_its_hook_afterwards() -> None:
    model = make_model()
    calls: list[int] = []
    handle = model.fc.register_forward_hook(lambda module, inputs, out: calls.append(1))
    ledger(model, *make_batch())
    assert len(calls) == 2
    handle.remove()
    model(mr.tensor(make_batch()[0]))
    assert len(calls) == 2


# --- untouched by itself ---


def test_untouched_puts_back_after_training_steps_inside() -> None:
    model = make_model().train()
    before = picture(model)
    x, y = make_batch()
    with untouched(model):
        optimizer = mr.optim.SGD(model.parameters(), lr=0.5)
        F.cross_entropy(model(mr.tensor(x)), mr.tensor(y)).backward()
        optimizer.step()
        assert model.conv1.weight.data.tobytes() != before["conv1.weight"]["values"]
    same(before, picture(model))


def test_untouched_passes_the_exception_on_and_puts_back() -> None:
    model = make_model()
    before = picture(model)

    def work() -> None:
        with untouched(model):
            model.eval()
            model.fc.weight.data[...] = 7
            mr.randn(2)
            raise Oops

    with pytest.raises(Oops):
        work()
    same(before, picture(model))


def test_untouched_can_be_nested() -> None:
    model = make_model()
    before = picture(model)
    with untouched(model):
        nn.init.zeros_(model.fc.weight)
        middle = picture(model)
        with untouched(model):
            nn.init.ones_(model.fc.weight)
            model.eval()
        same(middle, picture(model))
    same(before, picture(model))


def test_untouched_leaves_alone_what_did_not_change() -> None:
    """A waiting graph may go backward: arrays that kept their bits are not written again."""
    model = make_model().train()
    x, y = make_batch()
    with untouched(model):
        loss = F.cross_entropy(model.eval()(mr.tensor(x)), mr.tensor(y))
    loss.backward()


def test_a_graph_recorded_before_goes_backward_after_an_instrument_looked() -> None:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(8, width=2, in_channels=1)
    x, y = mr.randn(4, 1, 8, 8), mr.tensor([0, 1, 2, 3])
    loss = F.cross_entropy(model.eval()(x), y)  # holds the running statistics
    mr.flow.ledger(model.train(), x, y)  # moves running statistics, its own
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
