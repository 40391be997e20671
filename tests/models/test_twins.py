"""Twins: the network at 1, the plain one at 0, and nothing shared between the two."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.errors import ContractError, UsageError
from minires.models import twin
from tests.flow.test_trace import make_batch, make_model, picture, same

OPTIONS: dict[str, dict[str, Any]] = {
    "shortcut A": {},
    "shortcut B": {"shortcut": "B"},
    "shortcut C": {"shortcut": "C"},
    "pre-activation": {"preactivation": True, "shortcut": "B"},
    "no norm": {"norm": None},
    "bottleneck": {"depth": 11, "block": "bottleneck"},
}


def build(*, plain: bool = False, seed: int = 0, **options: Any) -> Any:
    mr.manual_seed(seed)
    make = mr.models.cifar_plain if plain else mr.models.cifar_resnet
    model = make(**{"depth": 14, "width": 2, "in_channels": 1, "num_classes": 3, **options})
    draw = np.random.default_rng(seed + 1)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if "bn" in name and tensor.ndim:  # statistics and scales as of a network in use
            tensor.data[...] = draw.uniform(0.5, 1.5, tensor.shape)
    return model


def outcome(model: nn.Module) -> dict[str, np.ndarray]:
    """Output, gradients, and the running statistics after a pass."""
    images, labels = make_batch()
    model.zero_grad()
    output = model(mr.tensor(images))
    F.cross_entropy(output, mr.tensor(labels)).backward()
    grads = {n: p.grad.data for n, p in model.named_parameters() if p.grad is not None}
    return {"output": output.data, **grads, **{n: b.data for n, b in model.named_buffers()}}


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_at_zero_it_is_the_plain_network_with_its_weights(
    options: dict[str, Any], training: bool
) -> None:
    model = build(**options).train(training)
    plain = build(plain=True, seed=5, **options).train(training)
    left = plain.load_state_dict(model.state_dict(), strict=False)
    assert left.missing_keys == []
    assert all(".downsample." in name for name in left.unexpected_keys)
    assert (left.unexpected_keys == []) == (options.get("shortcut", "A") == "A")

    found, expected = outcome(twin(model, 0.0)), outcome(plain)
    assert set(expected) <= set(found)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    for name in set(found) - set(expected):
        if "running" not in name and "tracked" not in name:
            assert not found[name].any(), name  # a projection that leads nowhere learns nothing


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_at_one_it_is_the_network_bit_for_bit(options: dict[str, Any], training: bool) -> None:
    model = build(**options).train(training)
    found, expected = outcome(twin(model, 1.0)), outcome(model)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].tobytes() == value.tobytes(), name


def test_in_between_every_skip_is_scaled_and_once_more_in_the_twin_of_a_twin() -> None:
    model = build()
    model.blocks()[1].skip_scale = 0.5
    half = twin(twin(model, 0.5), 3.0)
    assert [block.skip_scale for block in half.blocks()] == [1.5, 0.75, 1.5, 1.5, 1.5, 1.5]
    assert [block.skip_scale for block in model.blocks()] == [1.0, 0.5, 1.0, 1.0, 1.0, 1.0]
    images = mr.tensor(make_batch()[0])
    x = F.relu(model.bn1(model.conv1(images)))
    block, other = model.blocks()[1], twin(model, 0.5).blocks()[1]
    z = block.branch(x).data + 0.25 * x.data
    np.testing.assert_allclose(other(x).data, np.maximum(z, 0), rtol=1e-6)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_at_zero_no_branch_is_dropped_since_nothing_would_be_left(training: bool) -> None:
    model = build(stochastic_depth=0.1).train(training)
    plain = build(plain=True).train(training)
    plain.load_state_dict(model.state_dict())
    survival = [block.survival_probability for block in model.blocks()]
    gone = twin(model, 0.0)
    assert [block.survival_probability for block in gone.blocks()] == [1.0] * 6
    found, expected = outcome(gone), outcome(plain)
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)
    for other in (model, twin(model, 0.5)):
        assert [block.survival_probability for block in other.blocks()] == survival


def test_plain_blocks_stay_as_they_are() -> None:
    model = build(plain=True)
    copied = twin(model, 0.3)
    assert [block.skip_scale for block in copied.blocks()] == [1.0] * 6
    assert outcome(copied)["output"].tobytes() == outcome(model)["output"].tobytes()


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
def test_the_network_itself_is_untouched(scale: float) -> None:
    model = make_model()
    before = picture(model)
    twin(model, scale)
    same(before, picture(model))


def test_modes_frozen_parameters_and_attributes_come_along_gradients_and_hooks_do_not() -> None:
    model = make_model()
    model.handle = model.register_full_backward_hook(lambda module, grads, out: None)
    model.fc.register_full_backward_pre_hook(lambda module, out: None)
    made = twin(model)
    assert type(made) is type(model)
    assert made.note == "mine"
    for (name, one), (_, other) in zip(model.named_modules(), made.named_modules(), strict=True):
        assert one.training == other.training, name
        assert type(one) is type(other)
    for name, parameter in made.named_parameters():
        assert parameter.grad is None, name
        assert type(parameter) is nn.Parameter
        assert parameter.node is None or not parameter.node.hooks
    assert not made.fc.bias.requires_grad
    assert made.fc.weight.requires_grad
    for module in made.modules():
        hooks = {key: table for key, table in vars(module).items() if key.endswith("_hooks")}
        assert len(hooks) == 4
        assert not any(hooks.values())


def test_a_hook_that_cannot_be_copied_is_no_hindrance() -> None:
    class Hook:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __call__(self, module: Any, inputs: Any, out: Any) -> None: ...

    model = build()
    model.register_forward_hook(Hook())
    assert twin(model)(mr.tensor(make_batch()[0])).shape == (4, 3)


def test_what_happens_to_one_does_not_reach_the_other() -> None:
    model = build()
    made = twin(model, 1.0)
    arrays = [t.data for t in (*model.parameters(), *model.buffers())]
    for tensor in (*made.parameters(), *made.buffers()):
        assert tensor.data.flags.writeable
        assert not any(np.shares_memory(tensor.data, array) for array in arrays)
    for changed, other in ((made, model), (model, made)):
        before = picture(other)
        images, labels = make_batch()
        optimizer = mr.optim.SGD(changed.parameters(), lr=0.5)
        F.cross_entropy(changed(mr.tensor(images)), mr.tensor(labels)).backward()
        optimizer.step()
        changed.layer1[0].skip_scale = 7.0
        changed.eval()
        same(before, picture(other))


def test_a_parameter_or_block_used_twice_is_used_twice_in_the_twin() -> None:
    model = build()
    model.fc.extra = model.fc.weight
    model.again = model.layer1[0]
    made = twin(model, 0.5)
    assert made.fc.extra is made.fc.weight
    assert made.again is made.layer1[0]
    assert made.again.skip_scale == 0.5  # scaled once


class Scaled(nn.ResidualBlock):
    """A block whose skip has a factor of its own."""

    def __init__(self, scale: Any):
        super().__init__()
        self.skip_scale = scale

    def branch(self, u: Any) -> Any:
        return u * 2.0


def test_a_scale_that_is_a_tensor_and_not_learned_is_scaled() -> None:
    block = Scaled(mr.tensor([1.0, 3.0]))
    made = twin(block, 0.5)
    assert made.skip_scale.tolist() == [0.5, 1.5]
    assert block.skip_scale.tolist() == [1.0, 3.0]
    assert made(mr.ones(2)).tolist() == [2.5, 3.5]


@pytest.mark.parametrize(
    "scale", [nn.Parameter(mr.tensor([2.0])), mr.tensor([2.0], requires_grad=True)]
)
def test_a_learned_scale_is_refused_unless_it_stays(scale: Any) -> None:
    model = nn.Sequential(nn.ReLU(), Scaled(scale))
    with pytest.raises(ContractError, match=r"twin: the skip_scale of 1 is learned .*\(1,\)"):
        twin(model, 0.0)
    assert twin(model, 1.0)(mr.ones(1)).tolist() == [4.0]
    learned = Scaled(scale)
    learned.shortcut = None  # type: ignore[method-assign, assignment]
    twin(learned, 0.0)  # a plain block has no use for it


def test_bad_use_is_refused() -> None:
    with pytest.raises(ContractError, match=r"twin: a list is no model"):
        twin([])  # type: ignore[type-var]
    with pytest.raises(ContractError, match=r"twin: Linear has no residual block"):
        twin(nn.Linear(2, 2))
    for scale in (float("nan"), float("inf"), "0", None):
        with pytest.raises(UsageError, match="twin: skip_scale must be a finite number, got"):
            twin(build(), scale)  # type: ignore[arg-type]
