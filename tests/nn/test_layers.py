"""Every layer is its functional operation with its own parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.autograd import guard
from minires.check import gradcheck
from minires.errors import DTypeError, ShapeError, UsageError

images = mr.randn(2, 4, 6, 6)
rows = mr.randn(3, 5)
TARGET = np.array([0, 4, 2])

# The layer, its input(s), and the call that it stands for.
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...], Callable[..., Any]]] = {
    "Linear": (lambda: nn.Linear(5, 2), (rows,), lambda m, x: F.linear(x, m.weight, m.bias)),
    "Linear without bias": (
        lambda: nn.Linear(5, 2, bias=False),
        (rows,),
        lambda m, x: F.linear(x, m.weight),
    ),
    "Conv2d": (
        lambda: nn.Conv2d(4, 6, (1, 3), (2, 1), (0, 2), (1, 2), groups=2),
        (images,),
        lambda m, x: F.conv2d(
            x, m.weight, m.bias, stride=(2, 1), padding=(0, 2), dilation=(1, 2), groups=2
        ),
    ),
    "Conv2d same": (
        lambda: nn.Conv2d(4, 6, 2, padding="same", bias=False),
        (images,),
        lambda m, x: F.conv2d(x, m.weight, padding="same"),
    ),
    "BatchNorm2d": (
        lambda: nn.BatchNorm2d(4, eps=0.1),
        (images,),
        lambda m, x: F.batch_norm(x, None, None, m.weight, m.bias, training=True, eps=0.1),
    ),
    "BatchNorm2d eval": (
        lambda: nn.BatchNorm2d(4).eval(),
        (images,),
        lambda m, x: F.batch_norm(x, m.running_mean, m.running_var, m.weight, m.bias),
    ),
    "ReLU": (nn.ReLU, (images,), lambda m, x: F.relu(x)),
    "Identity": (nn.Identity, (images,), lambda m, x: x),
    "Flatten": (nn.Flatten, (images,), lambda m, x: x.reshape(2, -1)),
    "Flatten, some": (lambda: nn.Flatten(2, 3), (images,), lambda m, x: x.reshape(2, 4, -1)),
    "MaxPool2d": (
        lambda: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        (images,),
        lambda m, x: F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True),
    ),
    "MaxPool2d dilated": (
        lambda: nn.MaxPool2d(2, 1, dilation=2),
        (images,),
        lambda m, x: F.max_pool2d(x, 2, stride=1, dilation=2),
    ),
    "AvgPool2d": (
        lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        (images,),
        lambda m, x: F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False),
    ),
    "AvgPool2d, own divisor": (
        lambda: nn.AvgPool2d(2, ceil_mode=True, divisor_override=3),
        (images,),
        lambda m, x: F.avg_pool2d(x, 2, ceil_mode=True, divisor_override=3),
    ),
    "AdaptiveAvgPool2d": (
        lambda: nn.AdaptiveAvgPool2d((2, None)),
        (images,),
        lambda m, x: F.adaptive_avg_pool2d(x, (2, None)),
    ),
    "CrossEntropyLoss": (
        nn.CrossEntropyLoss,
        (rows, TARGET),
        lambda m, x, t: F.cross_entropy(x, t),
    ),
    "Dropout": (lambda: nn.Dropout(0.4).eval(), (rows,), lambda m, x: x),
    "CrossEntropyLoss, everything": (
        lambda: nn.CrossEntropyLoss(mr.ones(5) * 2.0, 2, "sum", 0.1),
        (rows, TARGET),
        lambda m, x, t: F.cross_entropy(
            x, t, mr.ones(5) * 2.0, ignore_index=2, reduction="sum", label_smoothing=0.1
        ),
    ),
    "CrossEntropyLoss, sum": (
        lambda: nn.CrossEntropyLoss(reduction="sum"),
        (rows, TARGET),
        lambda m, x, t: F.cross_entropy(x, t, reduction="sum"),
    ),
    "MSELoss": (nn.MSELoss, (rows, rows * 2.0), lambda m, x, y: F.mse_loss(x, y)),
    "MSELoss, none": (
        lambda: nn.MSELoss("none"),
        (rows, rows * 2.0),
        lambda m, x, y: F.mse_loss(x, y, reduction="none"),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_gives_the_numbers_of_its_function(name: str) -> None:
    make, inputs, function = LAYERS[name]
    layer = make()
    expected = function(layer, *inputs)
    np.testing.assert_array_equal(layer(*inputs).data, expected.data, strict=True)


def test_dropout_drops_in_training_and_only_there() -> None:
    mr.manual_seed(0)
    layer = nn.Dropout(0.5)
    assert (layer(mr.ones(1000)).data == 0).any()
    assert (layer.eval()(mr.ones(1000)).data == 1).all()


def test_every_layer_is_held_against_its_function() -> None:
    others = {"Module", "ModuleList", "Sequential", "Observer", "ResidualBlock", "Parameter"}
    layers = {name for name in nn.__all__ if name[0].isupper()} - others - {"Outputs"}
    assert layers == {name.split()[0].rstrip(",") for name in LAYERS}


@pytest.mark.parametrize("make", [lambda: nn.Linear(3, 2), lambda: nn.Conv2d(3, 2, 1, groups=1)])
def test_gradients_reach_weight_and_bias_of_a_layer(make: Callable[[], nn.Module]) -> None:
    layer = make()
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 2, 2)[: 2 if isinstance(layer, nn.Linear) else 4])

    def run(x: mr.Tensor, weight: mr.Tensor, bias: mr.Tensor) -> mr.Tensor:
        object.__setattr__(layer, "weight", weight)
        object.__setattr__(layer, "bias", bias)
        return layer(x)

    gradcheck(run, [x, rng.standard_normal(layer.weight.shape), rng.standard_normal(2)], rtol=1e-6)


def test_max_pool_can_return_where_the_maxima_were() -> None:
    out, indices = nn.MaxPool2d(2, return_indices=True)(images)
    expected, places = F.max_pool2d(images, 2, return_indices=True)
    np.testing.assert_array_equal(out.data, expected.data)
    np.testing.assert_array_equal(indices.data, places.data)


def test_convolution_refuses_groups_that_do_not_divide() -> None:
    with pytest.raises(ShapeError, match=r"3 groups.*in_channels 4.*out_channels 6"):
        nn.Conv2d(4, 6, 3, groups=3)
    with pytest.raises(UsageError, match="kernel_size"):
        nn.Conv2d(4, 6, (1, 2, 3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(4, 4, 3, groups=0), "Conv2d: groups .* from 1 on, got 0"),
        (lambda: nn.Conv2d(4, 4, 0), "Conv2d: kernel_size .* from 1 on, got 0"),
        (lambda: nn.Conv2d(0, 4, 3), "Conv2d: in_channels .* from 1 on, got 0"),
        (lambda: nn.Linear(0, 2), "Linear: in_features .* from 1 on, got 0"),
        (lambda: nn.Linear(2, 2.0), r"Linear: out_features .* whole .* got 2\.0"),
        (lambda: nn.BatchNorm2d(-1), "BatchNorm2d: num_features .* got -1"),
    ],
)
def test_sizes_that_do_not_exist_are_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


# --- containers ---


def test_sequential_runs_its_modules_in_order_and_grows() -> None:
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU())
    assert model.append(nn.Linear(4, 2)) is model
    assert len(model) == 3
    assert [type(m).__name__ for m in model] == ["Linear", "ReLU", "Linear"]
    assert model[-1].out_features == 2
    np.testing.assert_array_equal(model(rows).data, model[2](model[0](rows).relu()).data)
    assert nn.Sequential()(rows) is rows
    with pytest.raises(IndexError):
        model[3]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (F.relu, r"a function \(relu\), not a Module: .*nn\.ReLU\(\) instead of F\.relu"),
        (nn.ReLU, r"the class ReLU, not a Module: call the class, ReLU\("),
        ([nn.ReLU()], r"a list, not a Module: unpack the list with \*"),
        ({"a": nn.ReLU()}, r"a dict, not a Module: unpack .*\*modules\.values\(\)"),
        (None, r"a NoneType, not a Module: .*nn\.Identity\(\)"),
    ],
    ids=["function", "class", "list", "dict", "None"],
)
def test_containers_refuse_what_is_no_module(wrong: Any, message: str) -> None:
    with pytest.raises(DTypeError, match="Sequential: position 1 is " + message):
        nn.Sequential(nn.ReLU(), wrong)
    with pytest.raises(DTypeError, match="ModuleList: position 1 is " + message):
        nn.ModuleList([nn.ReLU(), wrong])
    with pytest.raises(DTypeError, match="Sequential: position 0 is " + message):
        nn.Sequential().append(wrong)


def test_a_module_list_of_one_layer_says_that_it_wants_a_list() -> None:
    with pytest.raises(DTypeError, match=r"not a Linear: write nn\.ModuleList\(\[layer\]\)"):
        nn.ModuleList(nn.Linear(1, 1))


def test_a_module_list_names_its_modules_and_has_no_forward() -> None:
    layers = nn.ModuleList(nn.Linear(1, 1) for _ in range(2))
    layers.append(nn.ReLU())
    assert len(layers) == 3
    assert [name for name, _ in layers.named_parameters()][::2] == ["0.weight", "1.weight"]
    assert layers[1] is list(layers)[1]
    with pytest.raises(NotImplementedError, match="ModuleList"):
        layers(rows)


# --- batch norm: the running statistics ---


def test_momentum_weights_the_new_value_and_the_running_variance_is_unbiased() -> None:
    layer = nn.BatchNorm2d(2, momentum=0.3)
    x = mr.tensor(np.random.default_rng(0).standard_normal((3, 2, 2, 2)).astype(np.float32) + 5.0)
    out = layer(x)
    mean, m = x.data.mean((0, 2, 3)), 3 * 2 * 2
    biased = x.data.var((0, 2, 3))
    np.testing.assert_allclose(layer.running_mean.data, 0.3 * mean, rtol=1e-5)
    unbiased = biased * (m / (m - 1))
    np.testing.assert_allclose(layer.running_var.data, 0.7 + 0.3 * unbiased, rtol=1e-5)
    # The batch itself is normalised by the biased variance.
    expected = (x.data - mean[:, None, None]) / np.sqrt(biased + 1e-5)[:, None, None]
    np.testing.assert_allclose(out.data, expected, rtol=1e-4, atol=1e-5)
    assert layer.num_batches_tracked.item() == 1
    layer(x)
    np.testing.assert_allclose(layer.running_mean.data, 0.7 * 0.3 * mean + 0.3 * mean, rtol=1e-5)


def test_without_momentum_the_running_statistics_are_the_means_over_all_batches() -> None:
    layer = nn.BatchNorm2d(2, momentum=None)
    draw = np.random.default_rng(0)
    batches = [draw.standard_normal((3, 2, 2, 2)).astype(np.float32) + i for i in range(3)]
    for batch in batches:
        layer(mr.tensor(batch))
    for running, each in (
        (layer.running_mean, [b.mean((0, 2, 3)) for b in batches]),
        (layer.running_var, [b.var((0, 2, 3), ddof=1) for b in batches]),
    ):
        np.testing.assert_allclose(running.data, np.mean(each, axis=0), rtol=1e-5, atol=1e-6)
    assert layer.num_batches_tracked.item() == 3


def test_the_count_of_batches_is_changed_by_the_door_of_the_library() -> None:
    layer = nn.BatchNorm2d(4)
    with guard_of(layer.num_batches_tracked):
        layer(images)
    assert layer.num_batches_tracked.item() == 1


@contextmanager
def guard_of(tensor: mr.Tensor) -> Iterator[None]:
    """The array is held, as by a graph, and so read-only."""
    guard.hold(tensor.data)
    try:
        yield
    finally:
        guard.release(tensor.data)


def test_evaluation_uses_the_running_statistics_and_leaves_them_alone() -> None:
    layer = nn.BatchNorm2d(4)
    nn.init.constant_(layer.running_mean, 2.0)
    nn.init.constant_(layer.running_var, 4.0)
    layer.eval()
    out = layer(images)
    np.testing.assert_allclose(out.data, (images.data - 2.0) / np.sqrt(4.0 + 1e-5), rtol=1e-5)
    assert layer.running_mean.tolist() == [2.0] * 4
    assert layer.num_batches_tracked.item() == 0
    assert layer(images[:1, :, :1, :1]).shape == (1, 4, 1, 1)  # one value a channel will do


def test_without_running_statistics_the_batch_counts_in_both_modes() -> None:
    layer = nn.BatchNorm2d(4, affine=False, track_running_stats=False)
    assert list(layer.parameters()) == list(layer.buffers()) == []
    training = layer(images)
    np.testing.assert_array_equal(layer.eval()(images).data, training.data)


def test_batch_norm_takes_images_only() -> None:
    with pytest.raises(ShapeError, match=r"BatchNorm2d: input must be \(N, C, H, W\)"):
        nn.BatchNorm2d(5)(rows)
    with pytest.raises(ShapeError, match="Check num_features"):
        nn.BatchNorm2d(5)(images)


def test_a_failed_forward_leaves_batch_norm_as_it_was() -> None:
    layer = nn.BatchNorm2d(4)
    before = layer.state_dict()
    for wrong in (mr.randn(2, 5, 6, 6), mr.randn(1, 4, 1, 1)):
        with pytest.raises(ShapeError):
            layer(wrong)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name], err_msg=name)
