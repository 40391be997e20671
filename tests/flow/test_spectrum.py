"""The path spectrum, held against all paths one by one, found by cutting edges."""

from __future__ import annotations

import json
import math
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.errors import ContractError, ShapeError, UsageError
from minires.flow.spectrum import path_spectrum
from minires.models.block_options import BlockOptions
from minires.models.blocks import basic, bottleneck, make_block
from tests.flow.test_trace import Oops, failing_loss, make_batch, make_model, picture, same

BOUND = {"float64": 1e-10, "float32": 1e-5}  # of |sum c_k - g| to the sum of |c_k|


class OnePath(nn.Observer):
    """At every block the gradient can come back one way alone: the other is given a constant."""

    def __init__(self, through: tuple[bool, ...]):
        self.through = iter(through)
        self.inputs: list[Any] = []

    def fork(self, block: Any, x: Any, u: Any) -> Any:
        self.inputs.append(x)
        still = u.detach()
        return (still, u) if next(self.through) else (u, still)


def along_one_path(model: Any, x: Any, y: Any, through: tuple[bool, ...]) -> np.ndarray:
    """The gradient at the first block's input: an ordinary pass, with edges cut."""
    observer = OnePath(through)
    images = mr.tensor(x, requires_grad=True)
    with nn.observe(observer):
        loss = F.cross_entropy(model(images), mr.tensor(y))
    (found,) = mr.grad(loss, observer.inputs[0], allow_unused=True)
    return np.zeros(observer.inputs[0].shape) if found is None else found.numpy()


def over_all_paths(model: Any, x: Any, y: Any, blocks: int) -> list[np.ndarray]:
    """The sum over the paths of each length, one path at a time."""
    sums: list[Any] = [0.0] * (blocks + 1)
    for through in product([False, True], repeat=blocks):
        sums[sum(through)] = sums[sum(through)] + along_one_path(model, x, y, through)
    return sums


def four_blocks(kind: str, shortcut: str, *, training: bool = True) -> Any:
    """Four blocks, of which two change the dimensions."""
    mr.manual_seed(3)
    order = "full-preactivation" if kind == "pre-activation" else "original"
    options = BlockOptions(shortcut=shortcut, order=order)
    blocks: list[Any] = []
    channels = 3
    for i, (inner, stride) in enumerate([(3, 1), (4, 2), (4, 1), (5, 2)]):
        if kind == "bottleneck":
            convs = bottleneck(channels, inner, stride, 2)
        else:
            convs = basic(channels, inner, stride, 2)
        blocks.append(make_block(convs, options, first=i == 0))
        channels = convs[-1].out_channels
    stem = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 5))
    model = nn.Sequential(stem, *blocks, head)
    draw = np.random.default_rng(0)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if "mean" in name or "bias" in name:
            tensor.data[...] = draw.uniform(-0.2, 0.2, tensor.shape)
        elif tensor.ndim == 1:
            tensor.data[...] = draw.uniform(0.5, 1.5, tensor.shape)
    return model.to("float64").train(training)


def batch(n: int = 5) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(4)
    return draw.standard_normal((n, 2, 8, 8)), draw.integers(0, 5, n)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("shortcut", ["A", "B", "C"])
@pytest.mark.parametrize("kind", ["post-activation", "pre-activation", "bottleneck"])
def test_each_component_is_the_sum_over_the_sixteen_paths_one_by_one(
    kind: str, shortcut: str, training: bool
) -> None:
    model = four_blocks(kind, shortcut, training=training)
    expected = over_all_paths(model, *batch(), 4)
    found = path_spectrum(model, *batch())
    assert found.lengths == (0, 1, 2, 3, 4)
    assert found.counts == (1, 4, 6, 4, 1)
    scale = sum(np.linalg.norm(component) for component in expected)
    for k, component in enumerate(found.components):
        assert component.shape == expected[k].shape
        assert np.linalg.norm(component - expected[k]) < 1e-13 * scale
        assert found.norms[k] == pytest.approx(np.linalg.norm(expected[k]), rel=1e-9)
    assert min(found.norms[1:]) > 1e-6 * scale  # nothing is compared with nothing


def test_the_shares_are_signed_and_add_up_to_one() -> None:
    model = four_blocks("post-activation", "B")
    found = path_spectrum(model, *batch())
    g = sum(found.components)
    for k, component in enumerate(found.components):
        share = float((component * g).sum() / (g * g).sum())
        assert found.shares[k] == pytest.approx(share, rel=1e-9)
    assert sum(found.shares) == pytest.approx(1.0)
    cancellation = sum(found.norms) / float(np.linalg.norm(g))
    assert found.cancellation == pytest.approx(cancellation)
    assert cancellation > 1


def test_a_share_can_be_negative() -> None:
    class Against(nn.ResidualBlock):
        def branch(self, u: Any) -> Any:
            return -0.25 * u

    x, target = np.ones((2, 3)), np.zeros((2, 3))
    found = path_spectrum(nn.Sequential(Against()), x, target, loss=F.mse_loss)
    assert found.shares == pytest.approx((4 / 3, -1 / 3))
    assert found.cancellation == pytest.approx(5 / 3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [{}, {"preactivation": True}, {"shortcut": "B"}, {"norm": None, "init_scale": 0.5}],
    ids=["residual", "pre-activation", "projection", "no norm"],
)
def test_on_resnet_56_the_components_add_up_to_the_gradient(
    dtype: str, options: dict[str, Any]
) -> None:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(56, width=4, in_channels=1, **options).to(dtype)
    x, y = mr.data.load_digits().batch(8)
    x = x.astype(dtype)
    found = path_spectrum(model, x, y)
    assert found.max_error < BOUND[dtype]
    observer = OnePath((True,) * 27)
    with nn.observe(observer), pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnePath, "fork", lambda self, block, x, u: (self.inputs.append(x), (u, u))[1])
        loss = F.cross_entropy(model(mr.tensor(x)), mr.tensor(y))
    (g,) = mr.grad(loss, observer.inputs[0])
    rest = np.linalg.norm(sum(c.astype(np.float64) for c in found.components) - g.numpy())
    assert rest < BOUND[dtype] * sum(found.norms)
    assert found.lengths == tuple(range(28))
    assert found.counts == tuple(math.comb(27, k) for k in range(28))
    assert found.cancellation is not None
    assert found.cancellation > 1
    for i, block in enumerate(found.blocks):
        assert block.lengths == tuple(range(28 - i))
        assert block.error < BOUND[dtype]


def test_the_components_can_be_kept_at_any_block() -> None:
    model = four_blocks("post-activation", "A")
    first = path_spectrum(model, *batch())
    for at in (2, -2, "3"):
        found = path_spectrum(model, *batch(), block=at)
        assert found.block == "3"
        assert found.chosen == 2
        assert found.lengths == (0, 1, 2)
        assert [np.linalg.norm(c) for c in found.components] == pytest.approx(found.norms)
        assert found.norms == first.blocks[2].norms


def test_a_plain_stack_has_one_length_of_path() -> None:
    model = mr.models.cifar_plain(14, width=2, in_channels=2, num_classes=5).to("float64")
    found = path_spectrum(model, *batch())
    assert (found.lengths, found.counts) == ((6,), (1,))
    assert found.shares == pytest.approx((1.0,))
    assert found.max_error < 1e-12
    assert "the one path there is" in found.caption()


def test_plain_and_residual_blocks_may_be_mixed() -> None:
    model = four_blocks("post-activation", "A")
    model[1].shortcut = None
    found = path_spectrum(model, *batch())
    assert (found.lengths, found.counts) == ((1, 2, 3, 4), (1, 3, 3, 1))
    expected = over_all_paths(model, *batch(), 4)[1:]
    for component, one_by_one in zip(found.components, expected, strict=True):
        np.testing.assert_allclose(component, one_by_one, atol=1e-12)


class Dense(nn.ResidualBlock):
    def __init__(self, width: int):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def branch(self, u: Any) -> Any:
        return F.tanh(self.linear(u))


class Nested(nn.ResidualBlock):
    """Two residual blocks in the branch of another."""

    def __init__(self, width: int):
        super().__init__()
        self.branch = nn.Sequential(Dense(width), Dense(width))


def test_blocks_in_the_branch_of_another_are_counted_where_they_are() -> None:
    mr.manual_seed(1)
    model = nn.Sequential(nn.Linear(6, 6), Nested(6), Dense(6)).to("float64")
    draw = np.random.default_rng(0)
    found = path_spectrum(model, draw.standard_normal((4, 6)), draw.integers(0, 6, 4))
    # (1 + t (1 + t)^2) (1 + t)
    assert found.lengths == (0, 1, 2, 3, 4)
    assert found.counts == (1, 2, 3, 3, 1)
    assert found.max_error < 1e-12
    assert found.blocks[1].counts is None  # inside another


def test_a_skip_that_is_scaled_scales_the_paths_over_it() -> None:
    model = four_blocks("post-activation", "A")
    for block in list(model)[1:5]:
        block.skip_scale = 0.5
    expected = over_all_paths(model, *batch(), 4)
    for component, one_by_one in zip(
        path_spectrum(model, *batch()).components, expected, strict=True
    ):
        np.testing.assert_allclose(component, one_by_one, atol=1e-12)


def test_a_sabotaged_pass_is_caught_by_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    from minires.flow import passes

    monkeypatch.setattr(passes, "alias", lambda u: u * 1.5)
    assert path_spectrum(four_blocks("post-activation", "A"), *batch()).max_error > 0.01


def test_gradients_that_are_not_finite_are_said_to_be() -> None:
    model = four_blocks("post-activation", "A")
    x, y = batch()
    x[0, 0, 0, 0] = np.inf
    with np.errstate(all="ignore"):
        found = path_spectrum(model, x, y)
    assert math.isnan(found.max_error)
    assert "not finite" in found.caption()


def test_where_no_gradient_is_left_nothing_is_divided_by_zero() -> None:
    found = path_spectrum(
        four_blocks("post-activation", "A"), *batch(), loss=lambda o, t: 0 * o.sum()
    )
    assert found.cancellation is None
    assert set(found.shares) == {0.0}
    assert found.max_error == 0
    assert "no gradient is left" in found.caption()


def test_the_table_and_the_plain_data_hold_the_numbers() -> None:
    found = path_spectrum(four_blocks("pre-activation", "B"), *batch())
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["norms"] == list(found.norms)
    assert data["counts"] == [1, 4, 6, 4, 1]
    assert data["by_block"]["name"] == ["1", "2", "3", "4"]
    assert data["by_block"]["norms"][3] == list(found.blocks[3].norms)
    headers, rows = found.rows()
    assert len(rows) == 5
    assert len(headers) == len(rows[0])
    assert rows[2][1] == 6
    assert "<svg" in found._repr_html_()


def test_it_leaves_no_trace_when_it_fails() -> None:
    model = make_model()
    before = picture(model)
    with pytest.raises(Oops):
        path_spectrum(model, *make_batch(), loss=failing_loss)
    with pytest.raises(ShapeError, match="path_spectrum: the loss must be a single number"):
        path_spectrum(model, *make_batch(), loss=lambda output, target: output)
    with pytest.raises(UsageError, match="no block 'layer9'"):
        path_spectrum(model, *make_batch(), block="layer9")
    with pytest.raises(UsageError, match="no block 3; 3 ran"):
        path_spectrum(model, *make_batch(), block=3)
    same(before, picture(model))


def test_a_model_without_blocks_and_a_missing_target_are_refused() -> None:
    x, y = make_batch()
    with pytest.raises(ContractError, match="path_spectrum: no residual block ran in Sequential"):
        path_spectrum(nn.Sequential(nn.Flatten(), nn.Linear(64, 3)), x, y)
    with pytest.raises(ContractError, match="needs the labels"):
        path_spectrum(make_model(), x)
    with pytest.raises(ContractError, match="a function is no model"):
        path_spectrum(F.relu, x, y)


def test_counts_are_those_of_all_subsets() -> None:
    """A hand count for the four blocks, of which none is nested."""
    counts = path_spectrum(four_blocks("post-activation", "A"), *batch()).counts
    assert counts == tuple(len(list(combinations(range(4), k))) for k in range(5))


class Towers(nn.Module):
    """Blocks that do not all stand in one row."""

    def __init__(self, kind: str):
        super().__init__()
        self.kind = kind
        self.blocks = nn.ModuleList(Dense(6) for _ in range(4))

    def forward(self, x: Any) -> Any:
        a, b, c, d = self.blocks
        if self.kind == "two towers":
            return b(a(x)) + d(c(x))
        middle = b(a(x))
        return d(c(middle)) + (middle if self.kind == "second head" else x)


class OnTheShortcut(nn.ResidualBlock):
    def __init__(self, width: int):
        super().__init__()
        self.branch, self.shortcut = nn.Linear(width, width), Dense(width)


@pytest.mark.parametrize("kind", ["two towers", "second head", "long skip"])
def test_paths_are_not_counted_as_if_in_a_row_where_blocks_are_not(kind: str) -> None:
    mr.manual_seed(1)
    draw = np.random.default_rng(0)
    model = Towers(kind).to("float64")
    found = path_spectrum(model, draw.standard_normal((4, 6)), draw.integers(0, 6, 4))
    assert found.counts is None
    assert found.max_error < 1e-12
    assert found.blocks[2].counts == ((1, 2, 1) if kind == "long skip" else None)
    assert found.blocks[3].counts == (1, 1)  # from there on there is one row


def test_blocks_on_the_shortcut_of_another_are_counted_there() -> None:
    mr.manual_seed(1)
    draw = np.random.default_rng(0)
    model = nn.Sequential(OnTheShortcut(6), Dense(6)).to("float64")
    found = path_spectrum(model, draw.standard_normal((4, 6)), draw.integers(0, 6, 4))
    assert (found.lengths, found.counts) == ((0, 1, 2), (1, 3, 2))  # (t + (1 + t)) (1 + t)


def test_the_caption_does_not_call_a_failed_check_a_success() -> None:
    draw = np.random.default_rng(0)

    class Restless(Dense):
        def branch(self, u: Any) -> Any:
            return super().branch(u) * float(draw.uniform(0.5, 2.0))

    mr.manual_seed(1)
    model = nn.Sequential(Restless(6), Dense(6)).to("float64")
    found = path_spectrum(model, draw.standard_normal((4, 6)), draw.integers(0, 6, 4))
    assert found.max_error > 1e-3
    assert "does not compute the same twice" in found.caption()


def test_where_no_gradient_is_left_no_paths_are_said_to_carry_it() -> None:
    found = path_spectrum(
        four_blocks("post-activation", "A"), *batch(), loss=lambda o, t: 0 * o.sum()
    )
    assert "paths through" not in found.caption()
