"""What operations save for backward: what may be saved, how much, and that nobody changes it."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.autograd import Function, guard
from minires.errors import GraphError, SavedArrayChangedError


def held_arrays() -> int:
    """How many arrays are under watch, garbage of other tests not counted."""
    gc.collect()
    return len(guard._records)


@pytest.fixture
def x() -> mr.Tensor:
    return mr.tensor([1.0, 2.0], requires_grad=True)


def operation(forward: Callable[[Any, Any], Any], read: str = "") -> Callable[..., mr.Tensor]:
    """An operation of one input; its backward reads what was saved as ``read``."""

    class Made(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            return forward(ctx, x)

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            return grad_out * ctx.saved(read)

    return Made.apply


# --- rule 1: three kinds of saving, and nothing else ---


def test_saving_an_intermediate_is_refused_with_the_ways_to_mend_it(x: mr.Tensor) -> None:
    def forward(ctx: Any, x: Any) -> Any:
        doubled = x * 2.0
        ctx.save(doubled=doubled)
        return doubled + 1.0

    with pytest.raises(GraphError, match=r"Made\.forward: ctx\.save\(doubled=") as caught:
        operation(forward)(x)
    assert "ctx.save_constant" in str(caught.value)
    assert "ctx.save_cache" in str(caught.value)


def test_saving_a_copy_or_a_view_of_an_input_is_refused(x: mr.Tensor) -> None:
    for derived in (lambda x: x.copy(), lambda x: x[:1], lambda x: x.reshape(1, 2)):

        def forward(ctx: Any, x: Any, derived: Any = derived) -> Any:
            ctx.save(x=derived(x))
            return x + 1.0

        with pytest.raises(GraphError, match="inputs and outputs"):
            operation(forward)(x)


def test_a_refused_operation_leaves_its_inputs_as_they_were(x: mr.Tensor) -> None:
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x=x, doubled=x * 2.0)
        return x + 1.0

    watched = held_arrays()
    with pytest.raises(GraphError):
        operation(forward)(x)
    x.data[0] = 7.0
    assert held_arrays() == watched


def test_inputs_and_outputs_can_be_looked_at_by_name(x: mr.Tensor) -> None:
    y = mr.tensor([3.0, 4.0])
    assert list((x * y).node.saved_arrays) == ["a", "b"]
    assert (x * y).node.saved_arrays["b"] is y.data
    out = x.exp()
    assert out.node.saved_arrays == {"out": out.data}


def test_a_cache_is_not_there_under_create_graph(x: mr.Tensor) -> None:
    class Cached(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save(x=x)
            ctx.save_cache(doubled=x * 2.0)
            return x * x

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            return grad_out * ctx.cache("doubled")

    Cached.apply(x).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]
    with pytest.raises(GraphError, match=r"if ctx\.create_graph"):
        mr.grad(Cached.apply(x).sum(), x, create_graph=True)


def test_reading_a_name_that_was_not_saved_is_an_error(x: mr.Tensor) -> None:
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save(x=x)
        return x * 2.0

    with pytest.raises(GraphError, match=r"'weight' was not saved; there is x\. Write ctx\.save"):
        operation(forward, read="weight")(x).sum().backward()


# --- rule 2: no more than backward needs ---


def kept_bytes(out: mr.Tensor) -> int:
    arrays = out.node.saved_arrays.values()
    return sum(a.nbytes for a in arrays if isinstance(a, np.ndarray))


def test_convolution_keeps_its_input_and_weight_and_no_columns() -> None:
    images = mr.randn(4, 8, 16, 16)
    for settings in ({"padding": 1}, {"stride": 2}, {"dilation": 2}):
        layer = nn.Conv2d(8, 16, 3, **settings)
        out = layer(images)
        assert kept_bytes(out) == images.data.nbytes + layer.weight.data.nbytes
        assert out.node.saved_arrays["x"] is images.data
        assert out.node.saved_arrays["weight"] is layer.weight.data


def test_relu_keeps_its_output_only_and_batch_norm_its_input() -> None:
    images = mr.randn(4, 8, 16, 16, requires_grad=True)
    out = images.relu()
    assert kept_bytes(out) == out.data.nbytes
    layer = nn.BatchNorm2d(8)
    assert kept_bytes(layer(images)) == images.data.nbytes + 3 * 8 * 4  # weight, mean, var


def test_operations_that_move_or_add_numbers_keep_none_of_them() -> None:
    images = mr.randn(2, 3, 4, 4, requires_grad=True)
    for out in (
        images + images,
        images - 1.0,
        -images,
        images.sum(1),
        images.reshape(-1),
        images.permute(3, 2, 1, 0),
        images[:, 1],
        F.cat([images, images]),
        F.avg_pool2d(images, 2),
        F.adaptive_avg_pool2d(images, 1),
    ):
        assert kept_bytes(out) == 0, out.node


def test_nothing_is_kept_without_a_graph() -> None:
    images = mr.randn(2, 3)
    (images * images).relu()
    with mr.no_grad():
        y = images.requires_grad_() * images
    images.data[0] = 0.0
    assert y.node is None


# --- rule 7: a saved array that changes is an error, not a wrong number ---


def test_writing_to_a_held_array_raises_where_it_is_written(x: mr.Tensor) -> None:
    y = x * x
    with pytest.raises(ValueError, match="read-only"):
        x.data[0] = 9.0
    hidden = y.exp()
    with pytest.raises(ValueError, match="read-only"):
        hidden.data[0] = 9.0
    with pytest.raises(ValueError, match="read-only"):
        x.data += 1.0


def test_writing_to_the_memory_under_a_held_view_raises_too() -> None:
    w = mr.randn(2, 2, requires_grad=True)
    products = {
        "transposed": lambda: mr.ones(1, 2) @ w.transpose(0, 1),
        "reshaped": lambda: w.reshape(4) * w.detach().reshape(4),
        "a part": lambda: w[0] * 2.0 * w[1],
        "linear": lambda: F.linear(mr.randn(3, 2, requires_grad=True), w),
    }
    for name, product in products.items():
        out = product()
        with pytest.raises(ValueError, match="read-only"):
            w.data[0, 0] = 9.0
        del out
        w.data[0, 0] = 9.0
        assert w.data.flags.writeable, name


def test_arrays_can_be_written_again_after_backward(x: mr.Tensor) -> None:
    hidden = x * x
    loss = hidden.exp().sum()
    loss.backward()
    x.data[0] = 9.0
    hidden.data[0] = 9.0


def test_arrays_can_be_written_again_after_the_graph_is_dropped(x: mr.Tensor) -> None:
    y = (x * x).exp()
    del y
    x.data[0] = 9.0


def test_an_array_held_by_two_graphs_is_free_after_the_second(x: mr.Tensor) -> None:
    first, second = (x * x).sum(), (x * x).sum()
    first.backward()
    with pytest.raises(ValueError, match="read-only"):
        x.data[0] = 9.0
    second.backward()
    x.data[0] = 9.0


@pytest.mark.parametrize("view_first", [True, False])
def test_a_view_and_its_base_are_both_free_in_the_end(view_first: bool) -> None:
    base = mr.tensor([1.0, 2.0], requires_grad=True)
    view = mr.Tensor(base.data.reshape(2, 1), requires_grad=True)
    of_base, of_view = (base * base).sum(), (view * view).sum()
    for loss in (of_view, of_base) if view_first else (of_base, of_view):
        loss.backward()
    base.data[0] = 9.0
    view.data[0] = 8.0
    assert base.data[0] == 8.0


def test_an_array_that_was_read_only_stays_so() -> None:
    array = np.array([1.0, 2.0])
    array.setflags(write=False)
    x = mr.Tensor(array, requires_grad=True)
    (x * x).sum().backward()
    assert not array.flags.writeable
    assert not array[:1].flags.writeable


def models() -> dict[str, tuple[nn.Module, mr.Tensor, str]]:
    images = mr.randn(4, 2, 5, 5, requires_grad=True)
    return {
        "convolution": (nn.Conv2d(2, 2, 3), images, "Conv2d"),
        "linear": (nn.Linear(5, 3), images, "MatMul"),
        "batch norm": (nn.BatchNorm2d(2), images, "BatchNorm"),
    }


@pytest.mark.parametrize("name", models())
def test_an_optimiser_step_between_forward_and_backward_names_the_operation(name: str) -> None:
    model, images, operation = models()[name]
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1)
    model(images).sum().backward()
    loss = model(images).sum()
    optimizer.step()
    with pytest.raises(SavedArrayChangedError, match=rf"(?s)backward through {operation}.*optimi"):
        loss.backward()


@pytest.mark.parametrize("name", models())
def test_loading_weights_between_forward_and_backward_names_the_operation(name: str) -> None:
    model, images, operation = models()[name]
    state = {key: value + 1 for key, value in model.state_dict().items()}
    loss = model(images).sum()
    model.load_state_dict(state)
    with pytest.raises(SavedArrayChangedError, match=f"backward through {operation}"):
        loss.backward()


def test_drawing_weights_anew_between_forward_and_backward_is_an_error() -> None:
    layer = nn.Linear(2, 2)
    loss = layer(mr.randn(1, 2, requires_grad=True)).sum()
    nn.init.kaiming_normal_(layer.weight)
    with pytest.raises(SavedArrayChangedError, match="MatMul"):
        loss.backward()


def test_running_statistics_that_move_between_forward_and_backward_are_an_error() -> None:
    layer, images = nn.BatchNorm2d(2), mr.randn(4, 2, 3, 3, requires_grad=True)
    loss = layer.eval()(images).sum()
    layer.train()(images)
    with pytest.raises(SavedArrayChangedError, match="BatchNormEval: its saved array"):
        loss.backward()


def test_a_step_after_backward_and_one_on_other_weights_is_no_error() -> None:
    model, head, images = nn.Linear(2, 2), nn.Linear(2, 2), mr.randn(3, 2, requires_grad=True)
    head(images.detach()).sum().backward()
    loss = model(images).sum()
    mr.optim.SGD(head.parameters(), lr=0.1).step()
    loss.backward()
    mr.optim.SGD(model.parameters(), lr=0.1).step()
    model(images).sum().backward()


def test_a_changed_weight_is_found_through_every_view_of_it(x: mr.Tensor) -> None:
    doubled = mr.Tensor(x.data, requires_grad=True)  # another tensor on the same memory
    views = [x.reshape(2, 1), x[:1], x.broadcast_to((3, 2)), x.detach(), doubled]
    losses = [(view * mr.ones(*view.shape, requires_grad=True)).sum() for view in views]
    with guard.writable(x.data) as data:
        data += 1.0
    for loss in losses:
        with pytest.raises(SavedArrayChangedError, match=r"Mul: its saved array 'a'"):
            loss.backward()


def test_targets_and_indices_are_watched_like_saved_inputs() -> None:
    logits = mr.randn(2, 3, requires_grad=True)
    target, index = np.array([0, 1]), np.array([1, 1])
    loss = F.cross_entropy(logits, target) + logits[index].sum() + logits[(index, index)].sum()
    for array in (target, index):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 2
    loss.backward()
    target[0] = index[0] = 2
    out, indices = F.max_pool2d(mr.randn(1, 1, 4, 4, requires_grad=True), 2, return_indices=True)
    with pytest.raises(ValueError, match="read-only"):
        indices.data[...] = 0
    out.sum().backward()


def test_the_door_stays_open_only_inside_the_block(x: mr.Tensor) -> None:
    y = x * x

    def fails() -> None:
        with guard.writable(x.data) as data:
            data[0] = 9.0
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    with pytest.raises(ValueError, match="read-only"):
        x.data[0] = 8.0
    with pytest.raises(SavedArrayChangedError):
        y.sum().backward()


def test_the_books_are_empty_when_all_graphs_are_gone() -> None:
    before = held_arrays()
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten())
    head = nn.Linear(8, 3)
    for _ in range(2):
        loss = F.cross_entropy(head(model(mr.randn(4, 1, 4, 4))).softmax(1), np.zeros(4, np.int64))
        assert held_arrays() > before
        loss.backward()
        assert held_arrays() == before
    loss = head(model(mr.randn(4, 1, 4, 4))).sum()
    del loss
    assert held_arrays() == before


def test_threads_that_hold_one_weight_do_not_disturb_each_other() -> None:
    before = held_arrays()
    weight = mr.randn(8, 8, requires_grad=True)
    errors = []

    def work() -> None:
        try:
            for _ in range(200):
                mr.grad((weight.transpose(0, 1) @ weight).sum(), weight)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert weight.data.flags.writeable
    assert held_arrays() == before


def test_what_is_in_the_cache_is_said_to_be_there() -> None:
    class Cached(Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_cache(twice=2.0 * x)
            return x * x

        @staticmethod
        def backward(ctx: Any, grad_out: Any) -> Any:
            return grad_out * ctx.saved("twice")

    with pytest.raises(GraphError, match=r"'twice' is in the cache.*ctx\.cache\('twice'\)"):
        Cached.apply(mr.ones(2, requires_grad=True)).sum().backward()
