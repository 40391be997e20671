"""``Module``: names, state, modes and hooks."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.errors import DTypeError, MiniresError, ShapeError, StateError


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.zeta = nn.Conv2d(1, 2, 3, bias=False)
        self.norm = nn.BatchNorm2d(2)
        self.scale = nn.Parameter(np.ones(1, np.float32))
        self.body = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
        self.alpha = nn.ModuleList([nn.Linear(3, 3)])

    def forward(self, x: Any) -> Any:
        return self.alpha[0](self.body(self.norm(self.zeta(x))) * self.scale)


NAMES = [
    "scale",
    "zeta.weight",
    "norm.weight",
    "norm.bias",
    "body.2.weight",
    "body.2.bias",
    "alpha.0.weight",
    "alpha.0.bias",
]
BUFFERS = ["norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]


@pytest.fixture
def net() -> Net:
    return Net()


# --- names ---


def test_names_come_in_the_order_of_assignment(net: Net) -> None:
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert [name for name, _ in net.named_buffers()] == BUFFERS
    assert [name for name, _ in net.named_children()] == ["zeta", "norm", "body", "alpha"]
    assert [name for name, _ in net.named_modules()] == [
        "",
        "zeta",
        "norm",
        "body",
        "body.0",
        "body.1",
        "body.2",
        "alpha",
        "alpha.0",
    ]
    assert list(net.children()) == [net.zeta, net.norm, net.body, net.alpha]
    assert len(list(net.modules())) == 9
    assert all(isinstance(p, nn.Parameter) and p.requires_grad for p in net.parameters())


def test_the_order_is_the_same_in_every_process() -> None:
    code = (
        "import minires.nn as nn; m = nn.Sequential(*(nn.Linear(1, 1) for _ in range(12)));"
        "print([n for n, _ in m.named_parameters()])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(p for p in sys.path if p)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
    assert "'0.weight', '0.bias', '1.weight'" in outputs.pop()


def test_a_module_or_parameter_that_is_replaced_keeps_its_place(net: Net) -> None:
    net.zeta = nn.Conv2d(1, 2, 3, bias=False)
    net.norm.weight = nn.Parameter(np.full(2, 7.0, np.float32))
    assert [name for name, _ in net.named_parameters()] == NAMES
    assert net.norm.weight.tolist() == [7.0, 7.0]
    steps = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    setattr(steps, "0", nn.Flatten())
    assert steps(mr.zeros(3, 2, 2)).shape == (3, 2)


def test_a_shared_module_or_parameter_is_named_once() -> None:
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, nn.ReLU(), shared)
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    assert len(list(tied.parameters())) == 3


def test_a_name_is_one_thing_at_a_time(net: Net) -> None:
    net.scale = nn.Linear(1, 1)
    assert "scale" not in dict(net.named_parameters())
    assert isinstance(net.scale, nn.Linear)
    net.scale = 5
    assert net.scale == 5
    assert [name for name, _ in net.named_children()] == ["zeta", "norm", "body", "alpha"]
    del net.body
    with pytest.raises(AttributeError, match="'Net' object has no attribute 'body'"):
        net.body  # noqa: B018
    del net.scale
    assert not hasattr(net, "scale")
    with pytest.raises(AttributeError):
        del net.scale


def test_a_tensor_over_a_parameter_is_refused_with_the_mend(net: Net) -> None:
    weight = net.zeta.weight
    for wrong in (mr.ones(2, 1, 3, 3), weight.data, 1.0):
        with pytest.raises(DTypeError, match=r"Conv2d: the parameter weight .*nn\.Parameter\("):
            net.zeta.weight = wrong
    assert net.zeta.weight is weight
    net.zeta.weight = None
    with pytest.raises(DTypeError, match="weight must be a Parameter"):  # the name is kept
        net.zeta.weight = weight.data
    with pytest.raises(DTypeError, match="bias must be a Parameter"):
        nn.Linear(2, 2, bias=False).bias = mr.zeros(2)
    with pytest.raises(DTypeError, match="more must be a Parameter"):
        net.register_parameter("more", mr.zeros(2))


def test_an_array_over_a_buffer_is_refused_with_the_mend(net: Net) -> None:
    for wrong in (np.zeros(2), [0.0, 0.0]):
        with pytest.raises(DTypeError, match=r"buffer running_mean .*mr\.tensor\("):
            net.norm.running_mean = wrong
    with pytest.raises(DTypeError, match="buffer more must be a Tensor"):
        net.register_buffer("more", np.zeros(2))
    assert [name for name, _ in net.named_buffers()] == BUFFERS
    net.norm.running_mean = None
    net.norm.running_mean = mr.zeros(2)
    assert [name for name, _ in net.named_buffers()] == BUFFERS


@pytest.mark.parametrize("wrong", [[nn.ReLU()], 3, nn.ReLU, nn.Parameter([1.0])], ids=str)
def test_what_cannot_be_called_is_refused_under_the_name_of_a_method(wrong: Any) -> None:
    class Block(nn.ResidualBlock):
        def __init__(self) -> None:
            super().__init__()
            self.branch = wrong

    with pytest.raises(DTypeError, match=r"Block: branch is called.*nn\.Sequential\(\*layers\)"):
        Block()


def test_a_parameter_of_numbers_is_float32_and_arrays_are_not_copied() -> None:
    assert nn.Parameter([1.0]).dtype == nn.Parameter(2.5).dtype == np.float32
    array = np.ones(2)
    assert nn.Parameter(array).data is array


def notes(call: Any) -> list[str]:
    with pytest.raises(MiniresError) as caught:
        call()
    return caught.value.__notes__


def test_an_error_says_once_in_which_layer_it_happened() -> None:
    model = mr.models.cifar_resnet(8, width=2)
    model.layer2[0].conv2 = nn.Conv2d(3, 4, 3, padding=1)
    expected = "  in layer2.0.conv2: Conv2d(3, 4, kernel_size=(3, 3), padding=(1, 1))"
    for _ in range(2):
        assert notes(lambda: model(mr.randn(2, 3, 8, 8))) == [expected]
    assert notes(lambda: model.layer2[0].conv2(mr.randn(2, 4, 4, 4))) == [
        "  in Conv2d(3, 4, kernel_size=(3, 3), padding=(1, 1))"
    ]


def test_an_error_between_layers_names_the_kind_of_the_module_alone() -> None:
    block = nn.ResidualBlock()
    block.branch = nn.Linear(2, 3)
    assert notes(lambda: nn.Sequential(block)(mr.zeros(1, 2))) == ["  in 0: ResidualBlock"]


def test_an_error_in_a_hook_or_a_module_that_is_not_registered_has_a_place_too() -> None:
    hidden = [nn.Linear(2, 2)]

    class Outer(nn.Module):
        def forward(self, x: Any) -> Any:
            return hidden[0](x)

    model = nn.Sequential(Outer())
    assert notes(lambda: model(mr.zeros(1, 3))) == ["  in 0: Linear(2, 2, bias=True)"]


def test_none_reserves_the_name_of_a_parameter() -> None:
    layer = nn.Linear(2, 2, bias=False)
    assert layer.bias is None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    layer.bias = nn.Parameter(np.zeros(2, np.float32))
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    layer.register_parameter("bias", None)
    assert layer.bias is None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_a_module_given_under_the_name_of_a_method_takes_its_place() -> None:
    class Base(nn.Module):
        def head(self, x: Any) -> Any:
            return x

        def forward(self, x: Any) -> Any:
            return self.head(x)

    model = Base()
    model.head = nn.Linear(2, 3)
    assert model(mr.zeros(1, 2)).shape == (1, 3)
    assert [name for name, _ in model.named_parameters()] == ["head.weight", "head.bias"]
    twin = copy.deepcopy(model)
    assert twin.head is not model.head
    assert twin.head is dict(twin.named_children())["head"]
    del model.head
    assert model(mr.zeros(1, 2)).shape == (1, 2)


def test_assigning_before_init_says_what_is_missing() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.Linear(1, 1)

    with pytest.raises(MiniresError, match=r"Early: call super\(\).__init__\(\) before.*'layer'"):
        Early()


def test_a_module_without_forward_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Module must define forward\(\)"):
        nn.Module()(1)


# --- state ---


def test_the_state_holds_parameters_and_buffers_and_is_a_copy(net: Net) -> None:
    state = net.state_dict()
    assert isinstance(state, OrderedDict)
    assert set(state) == {*NAMES, *BUFFERS}
    assert list(state)[:4] == ["scale", "zeta.weight", "norm.weight", "norm.bias"]
    state["scale"][0] = 9.0
    assert net.scale.item() == 1.0


def test_a_state_goes_round_with_running_statistics_and_counts(net: Net) -> None:
    net(mr.randn(4, 1, 4, 4))
    other = Net()
    result = other.load_state_dict(net.state_dict())
    assert result.missing_keys == result.unexpected_keys == []
    x = mr.randn(2, 1, 4, 4)
    np.testing.assert_array_equal(other.eval()(x).data, net.eval()(x).data)
    assert other.norm.num_batches_tracked.item() == 1
    assert not np.shares_memory(other.scale.data, net.scale.data)


def test_a_state_of_tensors_is_taken_and_dtypes_are_kept(net: Net) -> None:
    state = {name: mr.tensor(a.astype(np.float64)) for name, a in net.state_dict().items()}
    state["scale"] = mr.tensor(np.array([3.0]), requires_grad=True)
    weight = net.zeta.weight
    net.load_state_dict(state)
    assert net.zeta.weight is weight
    assert (net.scale.item(), net.scale.dtype) == (3.0, np.float32)
    assert net.norm.num_batches_tracked.dtype == np.int64


def test_the_state_of_tied_weights_goes_round() -> None:
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    state = tied.state_dict()
    assert {"0.weight", "1.weight"} <= set(state)
    state["0.weight"] = state["1.weight"] = np.full((2, 2), 3.0)
    tied.load_state_dict(state)
    assert (tied[1].weight.data == 3.0).all()


def test_a_shared_module_is_saved_under_each_of_its_names() -> None:
    shared = nn.Linear(2, 2)
    model = nn.Sequential(shared, shared)
    state = model.state_dict()
    assert list(state) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias"]
    other = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert other.load_state_dict(state) == model.load_state_dict(state) == ([], [])
    np.testing.assert_array_equal(other[1].weight.data, shared.weight.data)
    seen: list[nn.Module] = []
    model.apply(seen.append)
    assert seen == [shared, model]


def test_a_state_that_does_not_fit_changes_nothing(net: Net) -> None:
    before = net.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    state["alpha.0.bias"] = np.zeros(4)  # the last one
    with pytest.raises(ShapeError, match=r"alpha\.0\.bias has shape \(3,\).*\(4,\).*another model"):
        net.load_state_dict(state)
    for name, array in net.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_missing_and_unexpected_names_are_an_error_or_returned(net: Net) -> None:
    before = net.state_dict()
    state = {**{name: array + 1 for name, array in before.items()}, "extra": np.zeros(1)}
    del state["zeta.weight"]
    named = r"Net: missing \['zeta\.weight'\], unexpected \['extra'\]"
    with pytest.raises(StateError, match=named):
        net.load_state_dict(state)
    np.testing.assert_array_equal(net.scale.data, before["scale"])
    result = net.load_state_dict(state, strict=False)
    assert result.missing_keys == ["zeta.weight"]
    assert result.unexpected_keys == ["extra"]
    assert net.scale.item() == 2.0


def test_buffers_are_saved_and_not_trained() -> None:
    class Counter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", mr.tensor([0.0]))
            self.register_buffer("nothing", None)

    model = Counter()
    assert list(model.parameters()) == []
    assert [name for name, _ in model.named_buffers()] == ["count"]
    assert len(list(model.buffers())) == 1
    assert list(model.state_dict()) == ["count"]
    assert model.nothing is None
    model.count = mr.tensor([5.0])  # a tensor under its name stays a buffer
    assert model.state_dict()["count"].tolist() == [5.0]
    del model.count
    assert list(model.state_dict()) == []


# --- modes, dtypes, functions ---


def test_train_and_eval_reach_every_module(net: Net) -> None:
    assert net.eval() is net
    assert {module.training for module in net.modules()} == {False}
    assert net.train() is net
    assert {module.training for module in net.modules()} == {True}
    net.body.eval()
    assert net.training
    assert not net.body[2].training


def test_to_changes_floating_types_only_and_in_place(net: Net) -> None:
    parameters = list(net.parameters())
    (net(mr.randn(2, 1, 4, 4))).sum().backward()
    assert net.to("float64") is net
    assert [id(p) for p in net.parameters()] == [id(p) for p in parameters]
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float64)}
    assert net.norm.running_var.dtype == np.float64
    assert net.norm.num_batches_tracked.dtype == np.int64
    assert net.scale.grad.dtype == np.float64  # converted, as in PyTorch
    out = net(mr.tensor(np.ones((2, 1, 4, 4))))
    out.sum().backward()
    assert out.dtype == net.scale.grad.dtype == np.float64
    assert net.to("cpu").to(np.float32).scale.dtype == np.float32


@pytest.mark.parametrize("wrong", ["int64", "floot", np.int32])
def test_to_refuses_what_is_no_floating_type_and_changes_nothing(net: Net, wrong: Any) -> None:
    with pytest.raises(DTypeError, match=r"to: .*float32"):
        net.to(wrong)
    assert {p.dtype for p in net.parameters()} == {np.dtype(np.float32)}


def test_apply_calls_children_first_and_returns_the_module(net: Net) -> None:
    seen: list[nn.Module] = []
    assert net.apply(seen.append) is net
    assert len(seen) == len(set(seen)) == 9
    assert seen[-1] is net
    order = ["Conv2d", "BatchNorm2d", "ReLU", "Flatten", "Linear", "Sequential"]
    assert [type(m).__name__ for m in seen[:6]] == order
    assert seen.index(net.body[2]) < seen.index(net.body)


def test_zero_grad_forgets_gradients(net: Net) -> None:
    net(mr.randn(2, 1, 4, 4)).sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_requires_grad_freezes_all_parameters(net: Net) -> None:
    assert net.requires_grad_(False) is net
    assert not net(mr.randn(2, 1, 4, 4)).requires_grad
    net.requires_grad_()
    assert all(p.requires_grad for p in net.parameters())


def test_a_deep_copy_is_another_model_in_the_same_state(net: Net) -> None:
    net(mr.randn(2, 1, 4, 4))
    twin = copy.deepcopy(net.eval())
    x = mr.randn(2, 1, 4, 4)
    np.testing.assert_array_equal(twin(x).data, net(x).data)
    assert [name for name, _ in twin.named_parameters()] == NAMES
    assert not {id(p) for p in net.parameters()} & {id(p) for p in twin.parameters()}
    (net(x) - twin(x) * 2.0).sum().backward()  # both in one graph
    for p, q in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(q.grad.data, -2.0 * p.grad.data, rtol=1e-5, atol=1e-6)


# --- hooks ---


def test_forward_hooks_see_and_replace_inputs_and_output_until_removed() -> None:
    layer, calls = nn.Identity(), []
    pre = layer.register_forward_pre_hook(lambda m, inputs: calls.append((m, inputs)))
    post = layer.register_forward_hook(lambda m, inputs, out: calls.append((m, inputs, out)))
    assert layer(1) == 1
    assert calls == [(layer, (1,)), (layer, (1,), 1)]
    changes = [
        layer.register_forward_pre_hook(lambda m, inputs: inputs[0] + 1),
        layer.register_forward_pre_hook(lambda m, inputs: (inputs[0] * 10,)),
        layer.register_forward_hook(lambda m, inputs, out: -out),
    ]
    assert layer(1) == -20
    for handle in (pre, post, *changes):
        handle.remove()
    calls.clear()
    assert layer(1) == 1
    assert calls == []


def test_hooks_are_kept_also_when_nobody_keeps_their_handles() -> None:
    layer, order = nn.Identity(), []
    for hook in [lambda m, inputs, out, i=i: order.append(i) for i in range(5)]:
        layer.register_forward_hook(hook)
    layer(1)
    assert order == [0, 1, 2, 3, 4]


def test_a_hook_can_take_itself_off() -> None:
    layer, seen = nn.Identity(), []

    def once(module: nn.Module, inputs: Any, out: Any) -> None:
        seen.append(out)
        handle.remove()

    handle = layer.register_forward_hook(once)
    layer(1)
    layer(2)
    assert seen == [1]


# --- text ---


def test_repr_shows_the_tree_with_the_settings_of_each_layer(net: Net) -> None:
    assert repr(net) == (
        "Net(\n"
        "  (zeta): Conv2d(1, 2, kernel_size=(3, 3), bias=False)\n"
        "  (norm): BatchNorm2d(2, eps=1e-05, momentum=0.1)\n"
        "  (body): Sequential(\n"
        "    (0): ReLU()\n"
        "    (1): Flatten()\n"
        "    (2): Linear(8, 3, bias=True)\n"
        "  )\n"
        "  (alpha): ModuleList(\n"
        "    (0): Linear(3, 3, bias=True)\n"
        "  )\n"
        ")"
    )
    text = repr(nn.Conv2d(4, 2, (1, 3), stride=2, padding="valid", dilation=(1, 2), groups=2))
    assert text == (
        "Conv2d(4, 2, kernel_size=(1, 3), stride=(2, 2), padding=valid, dilation=(1, 2), groups=2)"
    )
    assert repr(nn.MaxPool2d(2, padding=1)) == "MaxPool2d(kernel_size=2, stride=None, padding=1)"
    assert repr(nn.AvgPool2d(2)) == "AvgPool2d(kernel_size=2, stride=None, padding=0)"
    assert repr(nn.AdaptiveAvgPool2d(1)) == "AdaptiveAvgPool2d(1)"
