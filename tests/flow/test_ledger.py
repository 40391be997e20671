"""The ledger: both edges of every fork, held against gradients that were found without it."""

from __future__ import annotations

import importlib
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.errors import ContractError, GraphError, ShapeError
from minires.flow import Ledger, ledger

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
FAMILIES: dict[str, dict[str, Any]] = {
    "residual": {"depth": 14},
    "pre-activation": {"depth": 14, "preactivation": True},
    "bottleneck": {"depth": 20, "block": "bottleneck"},
    "pre-activation bottleneck": {"depth": 20, "block": "bottleneck", "preactivation": True},
}


def build(dtype: str = "float64", *, seed: int = 0, training: bool = True, **options: Any) -> Any:
    mr.manual_seed(seed)
    model = mr.models.cifar_resnet(**{"width": 4, "in_channels": 2, "num_classes": 5, **options})
    draw = np.random.default_rng(seed + 1)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if "bn" in name and tensor.ndim:  # away from 1 and 0, so that no mix-up can hide
            tensor.data[...] = draw.uniform(0.5, 1.5, tensor.shape)
    return model.to(dtype).train(training)


def batch(dtype: str = "float64", n: int = 6) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(4)
    return draw.standard_normal((n, 2, 8, 8)).astype(dtype), draw.integers(0, 5, n)


def far(actual: np.ndarray, expected: np.ndarray) -> float:
    """The distance, relative to the size of ``expected``."""
    difference = np.linalg.norm(np.asarray(actual, np.float64) - expected)
    return float(difference / np.linalg.norm(np.asarray(expected, np.float64)))


# --- the gradients, found without the instrument ---


class Seen(NamedTuple):
    """One pass through one block, with the gradients of an ordinary backward pass."""

    block: nn.ResidualBlock
    x: mr.Tensor
    u: mr.Tensor
    z: mr.Tensor


def ordinary_pass(
    model: nn.Module,
    x: Any,
    target: Any,
    loss: Callable[..., Any] = F.cross_entropy,
    own_u: bool = False,
) -> list[Seen]:
    """Forward and backward, no observer; x, u and z of each block keep their gradients.

    It replaces the parts ``pre`` and ``activation`` of the blocks, so ``model`` is spoilt.  With
    ``own_u`` each block reads a u that nothing else reads.
    """
    order: list[tuple[nn.ResidualBlock, mr.Tensor, mr.Tensor]] = []
    sums: dict[int, mr.Tensor] = {}

    def watch(block: nn.ResidualBlock) -> None:
        pre, activation = block.pre, block.activation
        running: list[int] = []

        def watched_pre(x: mr.Tensor) -> mr.Tensor:
            u = pre(x) * 1.0 if own_u else pre(x)
            x.retain_grad()
            u.retain_grad()
            running.append(len(order))
            order.append((block, x, u))
            return u

        def watched_activation(z: mr.Tensor) -> mr.Tensor:
            z.retain_grad()
            sums[running.pop()] = z
            return activation(z)

        block.pre, block.activation = watched_pre, watched_activation  # type: ignore[method-assign]

    for module in list(model.modules()):
        if isinstance(module, nn.ResidualBlock):
            watch(module)
    value = loss(model(mr.tensor(x, requires_grad=True)), mr.tensor(target))
    value.backward()
    return [Seen(*entry, sums[i]) for i, entry in enumerate(order)]


def edge(part: Callable[[mr.Tensor], mr.Tensor], seen: Seen, scale: float = 1.0) -> np.ndarray:
    """J^T d of one way through a block, in a graph that holds nothing else."""
    u = mr.tensor(seen.u.data, requires_grad=True)
    part(u).backward(seen.z.grad.data * scale)
    return u.grad.data


def check(found: Ledger, seen: list[Seen], tolerance: float) -> None:
    """Sum, edges, and input gradient of every entry against those of the ordinary pass."""
    assert len(found.blocks) == len(seen) > 0
    for entry, own in zip(found.blocks, seen, strict=True):
        total = entry.branch if entry.skip is None else entry.skip + entry.branch
        assert far(total, own.u.grad.data) <= tolerance, entry.name
        assert far(entry.branch, edge(own.block.branch, own)) <= tolerance, entry.name
        if entry.skip is not None:
            skip = edge(own.block.shortcut, own, own.block.skip_scale)
            assert far(entry.skip, skip) <= tolerance, entry.name
        assert entry.error <= tolerance
        if entry.name.startswith("1."):  # the input of a nested block is the fork of its parent
            continue
        at_input = own.x.grad.data.astype(np.float64)
        assert entry.grad_norm == pytest.approx(np.linalg.norm(at_input), rel=10 * tolerance)
        rms = np.sqrt((at_input**2).mean())
        assert entry.grad_rms == pytest.approx(rms, rel=10 * tolerance)
    assert found.max_error == max(entry.error for entry in found.blocks)


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shortcut", "ABC")
@pytest.mark.parametrize("family", FAMILIES)
def test_skip_and_branch_are_the_gradients_of_a_separate_backward_pass(
    family: str, shortcut: str, dtype: str, training: bool
) -> None:
    options = {**FAMILIES[family], "shortcut": shortcut, "training": training}
    x, y = batch(dtype)
    found = ledger(build(dtype, **options), x, y)
    assert {entry.kind for entry in found.blocks} == {"residual"}
    assert {entry.branch.dtype for entry in found.blocks} == {np.dtype(dtype)}
    check(found, ordinary_pass(build(dtype, **options), x, y), TOLERANCE[dtype])


@pytest.mark.parametrize("norm", ["batch", None])
@pytest.mark.parametrize("preactivation", [False, True])
def test_a_plain_stack_gives_a_ledger_with_one_edge(norm: str | None, preactivation: bool) -> None:
    options = {"depth": 14, "residual": False, "norm": norm, "preactivation": preactivation}
    x, y = batch()
    found = ledger(build(**options), x, y)
    check(found, ordinary_pass(build(**options), x, y), 1e-12)
    for entry in found.blocks:
        assert entry.kind == "plain"
        assert entry.skip is entry.skip_norm is entry.skip_rms is None
        assert entry.share is entry.cosine is entry.forward_ratio is None
        assert entry.branch_norm > 0
    assert found.caption() == "6 plain blocks: all of the gradient comes back over the branch."


def test_without_norm_the_two_edges_add_up_as_well() -> None:
    options = {"depth": 14, "norm": None, "shortcut": "B"}
    x, y = batch()
    check(ledger(build(**options), x, y), ordinary_pass(build(**options), x, y), 1e-12)


@pytest.mark.parametrize("which", ["branch", "shortcut"])
@pytest.mark.parametrize("number", [1, 2], ids=["same dimensions", "projection"])
def test_each_edge_is_the_slope_of_the_loss_when_it_alone_is_moved(which: str, number: int) -> None:
    options = {"depth": 14, "width": 2, "shortcut": "B"}
    x, y = batch(n=3)
    entry = ledger(build(**options), x, y).blocks[number]
    gradient = entry.branch if which == "branch" else entry.skip
    direction = np.random.default_rng(0).standard_normal(gradient.shape)

    def loss(step: float) -> float:
        model = build(**options)
        block = model.blocks()[number]
        part = getattr(block, which)
        setattr(block, which, lambda u: part(u + step * mr.tensor(direction)))
        with mr.no_grad():
            return F.cross_entropy(model(mr.tensor(x)), mr.tensor(y)).item()

    h = 1e-6
    slope = (loss(h) - loss(-h)) / (2 * h)
    assert slope == pytest.approx(float(np.vdot(gradient, direction)), rel=1e-6)
    other = entry.skip if which == "branch" else entry.branch
    assert slope != pytest.approx(float(np.vdot(other, direction)), rel=1e-2)


def test_over_clean_identities_the_skip_carries_the_gradient_unchanged() -> None:
    """He et al. 2016, equation 5: what arrives at the sum goes on over the skip as it is."""
    x, y = batch()
    entries = {e.name: e for e in ledger(build(depth=20, preactivation=True), x, y).blocks}
    for name, after in (
        ("layer1.0", "layer1.1"),
        ("layer1.1", "layer1.2"),
        ("layer3.1", "layer3.2"),
    ):
        arriving = entries[after].skip + entries[after].branch
        np.testing.assert_allclose(entries[name].skip, arriving, rtol=1e-13, atol=0)


def test_the_numbers_of_an_entry_are_those_of_its_arrays() -> None:
    for entry in ledger(build(depth=14), *batch()).blocks:
        skip, branch = entry.skip.ravel(), entry.branch.ravel()
        sizes = np.linalg.norm(skip), np.linalg.norm(branch)
        assert (entry.skip_norm, entry.branch_norm) == pytest.approx(sizes)
        assert entry.skip_rms == pytest.approx(np.sqrt((skip**2).mean()))
        assert entry.branch_rms == pytest.approx(np.sqrt((branch**2).mean()))
        assert entry.share == pytest.approx(sizes[0] / sum(sizes))
        assert entry.cosine == pytest.approx(skip @ branch / (sizes[0] * sizes[1]))
        assert 0 < entry.share < 1
        assert -1 <= entry.cosine <= 1


def test_loss_and_forward_ratio_are_those_of_the_forward_pass() -> None:
    x, y = batch()
    found = ledger(build(depth=8, training=False), x, y)
    model = build(depth=8, training=False)
    h = F.relu(model.bn1(model.conv1(mr.tensor(x))))
    for block, entry in zip(model.blocks(), found.blocks, strict=True):
        ratio = np.linalg.norm(block.branch(h).data) / np.linalg.norm(block.shortcut(h).data)
        assert entry.forward_ratio == pytest.approx(ratio)
        h = block(h)
    assert found.loss == pytest.approx(F.cross_entropy(model(mr.tensor(x)), mr.tensor(y)).item())


# --- blocks of the user's own ---


class Dense(nn.ResidualBlock):
    """A block of linear layers, with a skip of its own size."""

    def __init__(self, width: int, skip_scale: float = 1.0):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.skip_scale = skip_scale

    def branch(self, u: Any) -> Any:
        return self.second(F.relu(self.first(u)))

    def activation(self, z: Any) -> Any:
        return F.relu(z)


class Nested(nn.ResidualBlock):
    """A block with a block in its branch, and one on its shortcut."""

    def __init__(self, width: int):
        super().__init__()
        self.inner, self.beside = Dense(width), Dense(width, 0.5)

    def pre(self, x: Any) -> Any:
        return x * 2.0

    def branch(self, u: Any) -> Any:
        return self.inner(u) * 3.0

    def shortcut(self, u: Any) -> Any:
        return self.beside(u)


def dense_batch(width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(9)
    return draw.standard_normal((5, width)), draw.integers(0, width, 5)


def compare_to_ordinary(make: Callable[[], nn.Module], own_u: bool = False) -> Ledger:
    def seeded() -> nn.Module:
        mr.manual_seed(2)
        return make().to("float64")

    x, y = dense_batch()
    found = ledger(seeded(), x, y)
    check(found, ordinary_pass(seeded(), x, y, own_u=own_u), 1e-12)
    return found


def test_a_block_of_the_users_own_right_at_the_input() -> None:
    found = compare_to_ordinary(lambda: nn.Sequential(Dense(6), nn.Linear(6, 6), Dense(6)))
    assert [entry.name for entry in found.blocks] == ["0", "2"]


def test_a_skip_that_is_scaled_carries_the_scaled_gradient() -> None:
    found = compare_to_ordinary(lambda: nn.Sequential(Dense(6, 0.25), nn.Linear(6, 6)))
    full = compare_to_ordinary(lambda: nn.Sequential(Dense(6, 1.0), nn.Linear(6, 6)))
    assert found.blocks[0].share < full.blocks[0].share


def test_a_block_with_modules_as_its_parts() -> None:
    class Parts(nn.ResidualBlock):
        def __init__(self) -> None:
            super().__init__()
            self.branch = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
            self.shortcut = nn.Linear(6, 3)

    found = compare_to_ordinary(lambda: nn.Sequential(Parts(), nn.Linear(3, 6)))
    assert found.blocks[0].skip.shape == (5, 6)


def test_a_model_that_is_itself_a_block() -> None:
    found = compare_to_ordinary(lambda: Dense(6))
    assert [entry.name for entry in found.blocks] == [""]


def test_blocks_inside_the_branch_and_on_the_shortcut_of_another() -> None:
    found = compare_to_ordinary(
        lambda: nn.Sequential(nn.Linear(6, 6), Nested(6), nn.Linear(6, 6)), own_u=True
    )
    assert [entry.name for entry in found.blocks] == ["1", "1.inner", "1.beside"]
    outer, inner, beside = found.blocks
    np.testing.assert_allclose(inner.skip + inner.branch, outer.branch, rtol=1e-12)
    np.testing.assert_allclose(beside.skip + beside.branch, outer.skip, rtol=1e-12)
    assert outer.grad_norm == pytest.approx(2 * np.linalg.norm(outer.skip + outer.branch))


def test_what_an_auxiliary_head_reads_at_a_fork_is_not_booked_on_the_block() -> None:
    found = compare_to_ordinary(WithHead, own_u=True)
    second = found.blocks[1]
    total = np.linalg.norm(second.skip + second.branch)
    assert abs(second.grad_norm - total) > 0.01 * total  # the gradient of x has both


def test_a_nested_block_has_the_forward_ratio_of_its_own_two_terms() -> None:
    mr.manual_seed(2)
    model = Nested(6).to("float64")
    x, y = dense_batch()
    outer, inner, beside = ledger(model, x, y).blocks
    u = mr.tensor(2.0 * x)

    def ratio(block: Any) -> float:
        skip = block.skip_scale * block.shortcut(u).data
        return float(np.linalg.norm(block.branch(u).data) / np.linalg.norm(skip))

    assert outer.forward_ratio == pytest.approx(ratio(model))
    assert inner.forward_ratio == pytest.approx(ratio(model.inner))
    assert beside.forward_ratio == pytest.approx(ratio(model.beside))


def test_a_block_used_twice_has_an_entry_for_each_use() -> None:
    def make() -> nn.Module:
        block = Dense(6)
        return nn.Sequential(block, nn.Linear(6, 6), block)

    found = compare_to_ordinary(make)
    first, second = found.blocks
    assert first.name == second.name == "0"
    assert far(first.branch, second.branch) > 0.1


class Ignoring(nn.Module):
    """Two blocks, and the output does not depend on the first."""

    def __init__(self) -> None:
        super().__init__()
        self.dead, self.live = Dense(6), Dense(6)

    def forward(self, x: Any) -> Any:
        self.dead(x)
        return self.live(x)


def test_a_block_on_which_the_loss_does_not_depend_gets_zeros() -> None:
    mr.manual_seed(2)
    dead, live = ledger(Ignoring().to("float64"), *dense_batch()).blocks
    assert not dead.skip.any()
    assert not dead.branch.any()
    assert dead.share is dead.cosine is None
    assert dead.error == 0.0
    assert live.share is not None


def test_frozen_parameters_do_not_hide_the_gradient_of_the_forks() -> None:
    x, y = batch()
    frozen = build(depth=8)
    for parameter in frozen.parameters():
        parameter.requires_grad_(False)
    check(ledger(frozen, x, y), ordinary_pass(build(depth=8), x, y), 1e-12)


def test_the_check_tells_of_a_model_that_is_not_the_same_twice() -> None:
    class Noisy(Dense):
        draw = np.random.default_rng(0)  # not the default generator, which is put back

        def branch(self, u: Any) -> Any:
            return super().branch(u) * float(self.draw.uniform(0.5, 2.0))

    mr.manual_seed(2)
    found = ledger(nn.Sequential(Dense(6), Noisy(6)).to("float64"), *dense_batch())
    assert found.max_error > 1e-3


class WithHead(nn.Module):
    """Something else reads what the second block forks."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.head, self.second = Dense(6), nn.Linear(6, 6), Dense(6)

    def forward(self, x: Any) -> Any:
        x = self.first(x)
        return self.second(x) + self.head(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(Dense(6), nn.Linear(6, 6), Dense(6)),
        lambda: nn.Sequential(nn.Linear(6, 6), Nested(6)),
        WithHead,
    ],
    ids=["alone", "nested", "auxiliary head"],
)
def test_an_instrument_that_changes_the_model_is_caught(
    make: Callable[[], nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    mr.manual_seed(2)
    model = make().to("float64")
    assert ledger(model, *dense_batch()).max_error < 1e-12
    passes = importlib.import_module("minires.flow.passes")
    monkeypatch.setattr(passes, "alias", lambda u: u * 3.0)
    assert ledger(model, *dense_batch()).max_error > 0.1


def test_the_pass_for_the_check_adds_nothing_to_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    module, passes = map(importlib.import_module, ("minires.flow.ledger", "minires.flow.passes"))
    aliases: list[Any] = []
    alias, whole = passes.alias, module.Bare

    def counted(u: Any) -> Any:
        aliases.append(u)
        return alias(u)

    def bare() -> Any:
        aliases.clear()
        return whole()

    monkeypatch.setattr(passes, "alias", counted)
    monkeypatch.setattr(module, "Bare", bare)
    ledger(build(depth=8), *batch())
    assert aliases == []


def test_the_numbers_are_the_same_on_any_number_of_blas_threads() -> None:
    code = (
        "import json, minires as mr; mr.manual_seed(0);"
        "model = mr.models.cifar_resnet(8, width=16, in_channels=1);"
        "print(json.dumps(mr.flow.ledger(model, *mr.data.load_digits().batch(256)).to_dict()))"
    )
    texts = []
    for threads in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", code],
            env={
                **os.environ,
                "PYTHONPATH": str(Path(__file__).parents[2]),
                "OPENBLAS_NUM_THREADS": threads,
            },
            capture_output=True,
            text=True,
            check=True,
        )
        texts.append(ran.stdout)
    assert texts[0] == texts[1]


# --- what it is given ---


def test_arrays_and_tensors_give_the_same_bits() -> None:
    x, y = batch()
    one = ledger(build(depth=8), x, y)
    two = ledger(build(depth=8), mr.tensor(x), mr.tensor(y))
    for a, b in zip(one.blocks, two.blocks, strict=True):
        assert a.branch.tobytes() == b.branch.tobytes()
        assert a.skip.tobytes() == b.skip.tobytes()
    assert one.to_dict() == two.to_dict()


def test_another_loss_is_used_as_it_is() -> None:
    x, _ = batch()
    target = np.random.default_rng(1).standard_normal((6, 5))
    found = ledger(build(depth=8), x, target, loss=F.mse_loss)
    check(found, ordinary_pass(build(depth=8), x, target, F.mse_loss), 1e-12)


def test_it_records_inside_no_grad_and_leaves_that_mode_on() -> None:
    x, y = batch()
    with mr.no_grad():
        inside = ledger(build(depth=8), x, y)
        assert not mr.is_grad_enabled()
    assert inside.to_dict() == ledger(build(depth=8), x, y).to_dict()


def test_a_model_without_blocks_is_told_what_is_missing() -> None:
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU()).to("float64")
    with pytest.raises(ContractError, match="no residual block ran in Sequential") as caught:
        ledger(model, *dense_batch())
    assert "minires.nn.ResidualBlock" in str(caught.value)


def test_labels_that_are_missing_and_a_model_that_is_none_are_told() -> None:
    x, y = batch()
    with pytest.raises(ContractError, match=r"needs the labels.*ledger\(model, x, target\)"):
        ledger(build(depth=8), x)
    with pytest.raises(ContractError, match="a function is no model"):
        ledger(lambda x: x, x, y)  # type: ignore[arg-type]


def test_a_loss_that_is_no_single_number_is_refused_with_its_shape() -> None:
    x, y = batch()
    with pytest.raises(ShapeError, match=r"single number, but has shape \(6,\)"):
        ledger(build(depth=8), x, y, loss=lambda out, t: F.cross_entropy(out, t, reduction="none"))


def test_a_loss_that_has_left_the_graph_is_refused() -> None:
    x, y = batch()
    with pytest.raises(ContractError, match="returned a float, which has no gradient"):
        ledger(build(depth=8), x, y, loss=lambda out, t: F.cross_entropy(out, t).item())
    with pytest.raises(GraphError):
        ledger(build(depth=8), x, y, loss=lambda out, t: F.cross_entropy(out, t).detach())


# --- the result ---


class Page(HTMLParser):
    """Checks that tags close in order; collects ids, roles, labels, cells and loose references."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.labels: list[str] = []
        self.cells: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        given = dict(attrs)
        if given.get("id"):
            self.ids.append(str(given["id"]))
        if (given.get("href") or "").startswith("#"):
            self.references.add(str(given["href"])[1:])
        if given.get("role") == "img":
            self.labels.append(str(given.get("aria-label")))
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


@pytest.fixture(scope="module")
def found() -> Ledger:
    return ledger(build(depth=8), *batch())


def test_the_dictionary_is_strict_json_with_all_but_the_arrays(found: Ledger) -> None:
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(data) == {"loss", "max_error", "blocks"}
    assert data["loss"] == found.loss
    for block, entry in zip(data["blocks"], found.blocks, strict=True):
        assert set(block) == set(vars(entry)) - {"skip", "branch"}
        assert block["share"] == entry.share
        assert block["name"] == entry.name


def test_the_table_has_a_row_for_each_block(found: Ledger) -> None:
    header, _, *rows = found.table().splitlines()
    assert header.split("  ")[0] == "block"
    assert [row.split()[0] for row in rows] == ["layer1.0", "layer2.0", "layer3.0"]
    for row, entry in zip(rows, found.blocks, strict=True):
        skip, branch, share, cosine, ratio, rms = row.split()[1:]
        assert float(skip) == pytest.approx(entry.skip_norm, rel=1e-3)
        assert float(branch) == pytest.approx(entry.branch_norm, rel=1e-3)
        assert share == f"{100 * entry.share:.1f}%"
        assert float(cosine) == pytest.approx(entry.cosine, abs=1e-3)
        assert float(ratio) == pytest.approx(entry.forward_ratio, rel=1e-3)
        assert float(rms) == pytest.approx(entry.grad_rms, rel=1e-3)


def test_a_plain_table_leaves_out_what_was_not_measured() -> None:
    row = ledger(build(depth=8, residual=False), *batch()).table().splitlines()[2]
    assert row.split()[1] == "-"
    assert row.split()[3:6] == ["-", "-", "-"]


def test_printing_shows_the_caption_over_the_table(found: Ledger) -> None:
    assert str(found) == f"{found.caption()}\n{found.table()}"
    shares = [100 * entry.share for entry in found.blocks]
    assert found.caption().startswith(f"3 blocks: {min(shares):.0f}% to {max(shares):.0f}% of the")
    assert "skip + branch equals the gradient of a separate pass" in found.caption()


def test_the_arrays_stay_out_of_the_text_of_the_object(found: Ledger) -> None:
    assert "array(" not in repr(found)


def test_plotting_gives_a_figure_with_every_block(found: Ledger) -> None:
    figure = found.plot()
    assert type(figure).__mro__[1].__module__ == "matplotlib.figure"
    assert figure.axes
    texts = {label.get_text() for axes in figure.axes for label in axes.get_xticklabels()}
    assert any("1.0" in text for text in texts)


@pytest.mark.parametrize("residual", [True, False])
def test_notebooks_show_valid_html_with_an_alternative_text(residual: bool) -> None:
    result = ledger(build(depth=8, residual=residual), *batch())
    page = Page(result._repr_html_())
    assert page.open == []
    assert page.labels == [result.caption()]
    assert len(set(page.ids)) == len(page.ids) > 0
    assert page.references <= set(page.ids)
    assert "layer1.0" in page.cells
    assert f"{result.blocks[0].grad_rms:.4g}" in page.cells


def test_two_results_on_one_page_share_no_id(found: Ledger) -> None:
    other = ledger(build(depth=8, residual=False), *batch())
    assert not set(Page(found._repr_html_()).ids) & set(Page(other._repr_html_()).ids)


def test_a_network_that_diverged_still_gives_a_table_and_a_figure() -> None:
    model = build(depth=8)
    model.fc.weight.data[...] = np.nan
    with np.errstate(invalid="ignore"):
        found = ledger(model, *batch())
    assert math.isnan(found.loss)
    assert math.isnan(found.max_error)
    assert "nan" in found.table()
    assert "could not be checked" in found.caption()
    assert Page(found._repr_html_()).open == []


def test_one_number_that_is_not_finite_is_not_hidden_behind_the_largest() -> None:
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = Dense(6), Dense(6)

        def forward(self, x: Any) -> Any:
            return F.cat([self.first(x[:2]), self.second(x[2:]) * float("nan")])

    mr.manual_seed(2)
    found = ledger(Sometimes().to("float64"), *dense_batch(), loss=lambda out, t: out.sum())
    assert [math.isnan(entry.error) for entry in found.blocks] == [False, True]
    assert math.isnan(found.max_error)


def test_a_single_block_is_not_told_of_in_the_plural() -> None:
    mr.manual_seed(0)
    assert ledger(Dense(6).to("float64"), *dense_batch()).caption().startswith("1 block: ")
    plain = Dense(6).to("float64")
    plain.shortcut = None
    assert ledger(plain, *dense_batch()).caption().startswith("1 plain block: ")


def test_the_caption_does_not_call_a_failed_check_a_success() -> None:
    generator = np.random.default_rng(0)

    class Restless(nn.ResidualBlock):
        """Computes something else each time, from a generator that no instrument knows of."""

        def branch(self, u: mr.Tensor) -> mr.Tensor:
            return u * float(generator.uniform(0.1, 2.0))

    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), Restless(), nn.Linear(4, 2))
    found = mr.flow.ledger(model, mr.randn(3, 1, 2, 2), mr.tensor([0, 1, 0]))
    assert found.max_error > 1e-3
    assert "does not compute the same twice" in found.caption()
    assert "equals" not in found.caption()


def test_the_caption_does_not_take_a_residual_network_without_gradient_for_a_plain_one() -> None:
    mr.manual_seed(2)
    plain = Dense(6)
    plain.shortcut = None
    model = nn.Sequential(Dense(6), plain, Dense(6)).to("float64")
    x, y = dense_batch()
    text = ledger(model, x, y, loss=lambda out, target: 0 * out.sum()).caption()
    assert text.startswith("3 blocks (1 of them plain): no gradient is left at the forks")
    assert ledger(model, x, y).caption().startswith("3 blocks (1 of them plain): ")


def test_a_block_that_no_gradient_leads_out_of_is_told_where_it_is_cut_off() -> None:
    class CutOff(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.block = nn.Linear(6, 6), Dense(6)

        def forward(self, x: Any) -> Any:
            return self.block(self.stem(x).detach())

    x, y = dense_batch()
    for name in ("ledger", "path_spectrum", "sample_paths", "backward_lesion"):
        with pytest.raises(ContractError, match=r"block 'block' is given a tensor .* detach"):
            getattr(mr.flow, name)(CutOff().to("float64"), x, y)
    with pytest.raises(ContractError, match="dial: block 'block' is given a tensor"):
        mr.flow.dial(CutOff().to("float64"), (x, y))
