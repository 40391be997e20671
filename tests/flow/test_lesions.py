"""Lesions of the backward pass, held against networks whose graph is cut by hand."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.autograd import guard
from minires.errors import ContractError, ShapeError, UsageError
from minires.flow import edges
from minires.flow.edges import lesioned
from minires.flow.lesions import BackwardLesion, backward_lesion
from tests.flow.test_ledger import Dense, Ignoring, Nested, WithHead, batch, build, dense_batch
from tests.flow.test_trace import (
    FailsLater,
    Oops,
    failing_loss,
    make_batch,
    make_model,
    picture,
    same,
)

FAMILIES: dict[str, dict[str, Any]] = {
    "shortcut A": {"depth": 14},
    "shortcut B": {"depth": 8, "shortcut": "B"},
    "shortcut C": {"depth": 8, "shortcut": "C"},
    "pre-activation": {"depth": 14, "preactivation": True, "shortcut": "B"},
    "bottleneck": {"depth": 11, "block": "bottleneck"},
    "no norm": {"depth": 14, "norm": None},
    "plain": {"depth": 14, "residual": False},
}


def cut_by_hand(blocks: list[Any], skip: float, branch: float) -> None:
    """The lesion by means of detach: factor * u + (1 - factor) * (u without history)."""

    def through(part: Callable[[Any], Any], factor: float) -> Callable[[Any], Any]:
        return lambda u: part(factor * u + (1.0 - factor) * u.detach())

    for block in blocks:
        block.branch = through(block.branch, branch)
        if block.shortcut is not None:
            block.shortcut = through(block.shortcut, skip)


def blocks_of(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, nn.ResidualBlock)]


def gradients(
    model: nn.Module, x: np.ndarray, y: np.ndarray
) -> tuple[float, list[np.ndarray], dict[str, np.ndarray]]:
    """The loss, the gradient at each block's input, and that of each parameter.

    The blocks' ``pre`` is replaced, so the model is spoilt.
    """
    inputs: list[mr.Tensor] = []

    def watch(pre: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def watched(x: mr.Tensor) -> mr.Tensor:
            x.retain_grad()
            inputs.append(x)
            return pre(x)

        return watched

    for block in blocks_of(model):
        block.pre = watch(block.pre)
    loss = F.cross_entropy(model(mr.tensor(x, requires_grad=True)), mr.tensor(y))
    loss.backward()
    at_parameters = {
        name: np.zeros(p.shape) if p.grad is None else p.grad.data
        for name, p in model.named_parameters()
    }
    return loss.item(), [x.grad.data for x in inputs], at_parameters


def check_change(found: Any, intact: list[np.ndarray], other: list[np.ndarray]) -> None:
    before, after = (np.concatenate([a.ravel() for a in side]) for side in (intact, other))
    sizes = np.linalg.norm(before), np.linalg.norm(after)
    assert (found.norm, found.lesioned_norm) == pytest.approx(sizes, rel=1e-9, abs=1e-18)
    assert found.ratio == pytest.approx(sizes[1] / sizes[0], rel=1e-9)
    if sizes[1]:
        assert found.cosine == pytest.approx(before @ after / (sizes[0] * sizes[1]), abs=1e-9)
    else:
        assert found.cosine is None


def check(
    found: BackwardLesion, make: Callable[[], nn.Module], chosen: Any, x: Any, y: Any
) -> None:
    """Every number against two ordinary passes, one through a network that is cut by hand."""
    cut = make()
    cut_by_hand([blocks_of(cut)[i] for i in chosen], found.skip, found.branch)
    loss, at_inputs, at_parameters = gradients(make(), x, y)
    _, lesioned_inputs, lesioned_parameters = gradients(cut, x, y)
    assert found.loss == pytest.approx(loss, rel=1e-14)
    assert len(found.blocks) == len(at_inputs)
    for i, entry in enumerate(found.blocks):
        assert entry.lesioned == (i in chosen)
        check_change(entry.input, [at_inputs[i]], [lesioned_inputs[i]])
        own = [name for name in at_parameters if name.startswith(f"{entry.name}.")]
        check_change(
            entry.weights,
            [at_parameters[name] for name in own],
            [lesioned_parameters[name] for name in own],
        )
    check_change(found.weights, [*at_parameters.values()], [*lesioned_parameters.values()])
    assert found.same_forward
    assert found.max_error < 1e-12


@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("factors", [(0.0, 1.0), (1.0, 0.0), (0.5, -2.0)], ids=str)
@pytest.mark.parametrize("options", FAMILIES.values(), ids=FAMILIES)
def test_gradients_are_those_of_a_network_that_is_cut_by_hand(
    options: dict[str, Any], factors: tuple[float, float], training: bool
) -> None:
    def make() -> Any:
        return build(training=training, **options)

    x, y = batch(n=4)
    skip, branch = factors
    found = backward_lesion(make(), x, y, skip=skip, branch=branch)
    check(found, make, range(len(found.blocks)), x, y)
    one = backward_lesion(make(), x, y, 1, skip=skip, branch=branch)
    check(one, make, [1], x, y)


def test_blocks_are_chosen_by_name_and_by_index() -> None:
    x, y = batch(n=3)
    cases: list[tuple[Any, list[int]]] = [
        (None, [0, 1, 2, 3, 4, 5]),
        ("layer2.0", [2]),
        (["layer1.1", "layer3.0"], [1, 4]),
        (-1, [5]),
        ((0, np.int64(3), "layer1.0"), [0, 3]),
    ]
    for blocks, chosen in cases:
        found = backward_lesion(build(depth=14, width=2), x, y, blocks)
        assert [i for i, entry in enumerate(found.blocks) if entry.lesioned] == chosen
        after = [entry.input.cosine for entry in found.blocks[chosen[-1] + 1 :]]
        assert after == pytest.approx([1.0] * len(after), abs=1e-15)


# --- the forward pass has the same bits ---


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
@pytest.mark.parametrize("options", FAMILIES.values(), ids=FAMILIES)
def test_every_forward_value_has_the_same_bits(
    options: dict[str, Any], training: bool, dtype: str
) -> None:
    model = build(dtype, training=training, **options)
    x, y = batch(dtype, n=3)
    seen: list[bytes] = []
    for module in model.modules():
        module.register_forward_hook(lambda module, inputs, out: seen.append(out.data.tobytes()))
    model(mr.tensor(x))
    expected, seen[:] = list(seen), []
    running = [b.data.tobytes() for b in model.buffers() if b.data.ndim]

    again = build(dtype, training=training, **options)
    for module in again.modules():
        module.register_forward_hook(lambda module, inputs, out: seen.append(out.data.tobytes()))
    with lesioned(again, skip=0.3, branch=0.0, noise=0.5):
        again(mr.tensor(x))
    assert seen == expected != []
    assert [b.data.tobytes() for b in again.buffers() if b.data.ndim] == running
    found = backward_lesion(model, x, y, skip=0.0, noise=1.0)
    assert found.same_forward
    assert found.max_error < (1e-5 if dtype == "float32" else 1e-12)


class Thirsty(Dense):
    """A branch that reads its input three times: the order of sums matters."""

    def branch(self, u: Any) -> Any:
        return super().branch(u) + self.first(u) * u


@pytest.mark.parametrize(
    "make",
    [
        lambda: build("float32", depth=14),
        lambda: build("float32", depth=8, preactivation=True, shortcut="C"),
        lambda: nn.Sequential(Thirsty(6), nn.Linear(6, 6), Thirsty(6)),
        lambda: nn.Sequential(nn.Linear(6, 6), Nested(6)),
        WithHead,
    ],
    ids=["network", "pre-activation", "thirsty", "nested", "auxiliary head"],
)
def test_a_lesion_of_nothing_gives_the_bits_of_an_ordinary_pass(make: Callable[[], Any]) -> None:
    def seeded() -> Any:
        mr.manual_seed(3)
        return make()

    x, y = batch("float32") if hasattr(seeded(), "conv1") else dense_batch()
    x = x.astype(np.float32)
    _, at_inputs, at_parameters = gradients(seeded(), x, y)
    model = seeded()
    with lesioned(model, skip=1.0, branch=1.0, noise=0.0):
        # As in gradients(): the image's gradient shares its work with that of the first weight.
        image = mr.tensor(x, requires_grad=True)
        F.cross_entropy(model(image), mr.tensor(y)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.data.tobytes() == at_parameters[name].tobytes(), name
    found = backward_lesion(seeded(), x, y, skip=1.0, branch=1.0)
    assert found.max_error == 0.0
    for entry, gradient in zip(found.blocks, at_inputs, strict=True):
        size = float(np.sqrt(np.square(gradient, dtype=np.float64).sum()))
        assert entry.input.norm == entry.input.lesioned_norm
        assert entry.input.norm == pytest.approx(size, rel=1e-12)
        assert entry.input.ratio == 1.0


# --- training with a lesion ---


def train(model: Any, steps: int = 3, **lesion: Any) -> dict[str, np.ndarray]:
    optimizer = mr.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x, y = batch(n=4)
    for _ in range(steps):
        optimizer.zero_grad()
        if lesion:
            with lesioned(model, **lesion):
                loss = F.cross_entropy(model(mr.tensor(x)), mr.tensor(y))
        else:
            loss = F.cross_entropy(model(mr.tensor(x)), mr.tensor(y))
        loss.backward()  # also outside: what counts is where forward ran
        optimizer.step()
    return model.state_dict()


def test_training_with_a_lesion_is_training_the_network_cut_by_hand() -> None:
    found = train(build(depth=8), blocks=["layer1.0", "layer3.0"], skip=0.25)
    cut = build(depth=8)
    cut_by_hand([blocks_of(cut)[i] for i in (0, 2)], 0.25, 1.0)
    expected, intact = train(cut), train(build(depth=8))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-9, atol=1e-12, err_msg=name)
    assert np.abs(found["conv1.weight"] - intact["conv1.weight"]).max() > 1e-4


def test_outside_the_block_of_code_there_is_no_lesion_and_nothing_is_kept() -> None:
    model = build(depth=8)
    with lesioned(model, skip=0.0):
        train(model, steps=1)
    before = train(build(depth=8), steps=1, skip=1.0)
    after = train(build(depth=8), steps=1)
    for name, value in before.items():
        assert after[name].tobytes() == value.tobytes(), name
    with pytest.raises(Oops), lesioned(model):
        raise Oops
    assert "branch" not in vars(model.layer1[0])


def test_the_graph_of_a_step_with_a_lesion_is_freed_by_reference_counting() -> None:
    model = build(depth=8)
    gc.collect()
    before = len(guard._records)
    gc.disable()
    try:
        with lesioned(model, noise=0.1):
            loss = F.cross_entropy(model(mr.tensor(batch()[0])), mr.tensor(batch()[1]))
            del loss
        assert len(guard._records) == before
    finally:
        gc.enable()


def test_under_no_grad_a_lesion_does_nothing() -> None:
    model = build(depth=8, training=False)
    x = mr.tensor(batch()[0])
    with mr.no_grad():
        expected = model(x).data
        with lesioned(model, noise=1.0):
            assert model(x).data.tobytes() == expected.tobytes()


# --- noise ---


class Plus(nn.ResidualBlock):
    def branch(self, u: Any) -> Any:
        return 3.0 * u


def input_gradient(model: nn.Module, n: int = 20_000, **lesion: Any) -> np.ndarray:
    x = mr.tensor(np.zeros(n), requires_grad=True)
    with lesioned(model, **lesion):
        (model(x) * mr.tensor(np.random.default_rng(0).standard_normal(n) * 7.0)).sum().backward()
    return x.grad.data


def test_noise_is_added_to_each_edge_in_proportion_to_its_size() -> None:
    intact = input_gradient(Plus(), skip=1.0)
    rms = float(np.sqrt((intact**2).mean())) / 4.0  # of the skip; the branch has three times it
    cases = [
        ({"skip": 1.0, "branch": 1.0, "noise": 0.5}, intact, 0.5 * rms * np.sqrt(1 + 9)),
        ({"skip": 0.0, "branch": 0.0, "noise": 1.0}, 0 * intact, rms * np.sqrt(1 + 9)),
        ({"skip": 1.0, "branch": 0.0, "noise": 2.0}, intact / 4, 2.0 * rms * np.sqrt(1 + 9)),
    ]
    for lesion, signal, size in cases:
        noise = input_gradient(Plus(), **lesion) - signal
        assert np.sqrt((noise**2).mean()) == pytest.approx(size, rel=0.03)
        assert abs(noise.mean()) < 4 * size / np.sqrt(noise.size)
        assert abs(np.corrcoef(noise, intact)[0, 1]) < 0.03


def test_noise_depends_on_the_seed_and_is_new_in_each_pass_and_at_each_edge() -> None:
    lesion = {"skip": 0.0, "branch": 0.0, "noise": 1.0}
    first, again, other = (input_gradient(Plus(), **lesion, seed=seed) for seed in (0, 0, 1))
    assert first.tobytes() == again.tobytes()
    assert abs(np.corrcoef(first, other)[0, 1]) < 0.03

    model = Plus()
    x = mr.tensor(np.zeros(20_000), requires_grad=True)
    with lesioned(model, **lesion):
        passes = [mr.grad(model(x).sum(), x)[0].data for _ in range(2)]
    assert abs(np.corrcoef(*passes)[0, 1]) < 0.03
    # Two edges with the same noise would add up to more.
    assert passes[0].std() == pytest.approx(np.sqrt(10), rel=0.03)


def test_the_default_generator_is_not_drawn_from() -> None:
    mr.manual_seed(7)
    state = mr.rng.get_state()
    input_gradient(Plus(), noise=1.0)
    assert mr.rng.get_state() == state


def test_a_cut_edge_cuts_what_is_not_finite() -> None:
    class Broken(nn.ResidualBlock):
        def branch(self, u: Any) -> Any:
            return u.sqrt()  # its slope at 0 is infinite

    x = mr.tensor(np.zeros(3), requires_grad=True)
    model = Broken()
    with np.errstate(divide="ignore"), lesioned(model, skip=1.0, branch=0.0):
        model(x).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 1.0]


# --- structures ---


@pytest.mark.parametrize("chosen", [[0], [1], [2], [1, 2], [0, 1, 2]], ids=str)
def test_nested_blocks(chosen: list[int]) -> None:
    def make() -> nn.Module:
        mr.manual_seed(2)
        return nn.Sequential(nn.Linear(6, 6), Nested(6), nn.Linear(6, 6)).to("float64")

    x, y = dense_batch()
    model = make()
    found = backward_lesion(model, x, y, chosen, skip=0.5, branch=0.2)
    assert [entry.name for entry in found.blocks] == ["1", "1.inner", "1.beside"]
    _, _, intact = gradients(make(), x, y)
    cut = make()
    cut_by_hand([blocks_of(cut)[i] for i in chosen], 0.5, 0.2)
    _, _, expected = gradients(cut, x, y)
    check_change(found.weights, [*intact.values()], [*expected.values()])
    assert found.max_error < 1e-12
    # An input of an inner block is the fork of the outer one: all that arrives there is counted.
    entries = {entry.name: entry for entry in found.blocks}
    assert entries["1.inner"].input.lesioned_norm == entries["1.beside"].input.lesioned_norm
    assert 2 * entries["1.inner"].input.norm == pytest.approx(entries["1"].input.norm, rel=1e-12)


def test_a_block_used_twice_is_lesioned_twice() -> None:
    def make() -> nn.Module:
        mr.manual_seed(2)
        block = Dense(6)
        return nn.Sequential(block, nn.Linear(6, 6), block).to("float64")

    x, y = dense_batch()
    found = backward_lesion(make(), x, y, "0", skip=0.0)
    cut = make()
    cut_by_hand(blocks_of(cut), 0.0, 1.0)
    _, at_inputs, _ = gradients(cut, x, y)
    assert [entry.name for entry in found.blocks] == ["0", "0"]
    sizes = [np.linalg.norm(gradient) for gradient in at_inputs]
    assert [entry.input.lesioned_norm for entry in found.blocks] == pytest.approx(sizes)


def test_frozen_parameters_and_blocks_without_any_are_left_out() -> None:
    class Free(nn.ResidualBlock):
        def branch(self, u: Any) -> Any:
            return u * u

    mr.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 6), Free(), nn.Linear(6, 6)).to("float64")
    model[0].weight.requires_grad_(False)
    x, y = dense_batch()
    found = backward_lesion(model, x, y)
    assert found.blocks[0].weights is None
    assert found.weights is not None
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    assert backward_lesion(model, x, y).weights is None
    assert found.rows()[1][0][-1] is None


def test_where_nothing_arrives_there_is_no_ratio() -> None:
    mr.manual_seed(2)
    found = backward_lesion(Ignoring().to("float64"), *dense_batch())
    dead = found.blocks[0]
    assert dead.weights is not None
    assert (dead.weights.norm, dead.weights.ratio, dead.weights.cosine) == (0.0, None, None)
    assert found.max_error < 1e-12


# --- the checks ---


def test_a_model_that_is_not_the_same_twice_is_told_of() -> None:
    class Noisy(Dense):
        draw = np.random.default_rng(0)  # not the default generator, which is put back

        def branch(self, u: Any) -> Any:
            return super().branch(u) * float(self.draw.uniform(0.5, 2.0))

    mr.manual_seed(2)
    model = nn.Sequential(Dense(6), Noisy(6), Dense(6)).to("float64")
    found = backward_lesion(model, *dense_batch())
    assert not found.same_forward
    assert found.caption().endswith("; but the model does not compute the same forward twice.")


def test_an_edge_that_sends_something_else_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = edges._changed
    monkeypatch.setattr(edges, "_changed", lambda grad, **how: right(grad, **how) * 1.01)
    # Also where blocks follow that have no lesion.
    assert backward_lesion(build(depth=8), *batch(), 0, skip=0.5).max_error > 0.009
    found = backward_lesion(build(depth=8), *batch(), skip=0.5)
    assert found.max_error == pytest.approx(0.01, rel=0.01)
    assert "the check of the lesioned edges fails, by 1e-02" in found.caption()


def test_a_mix_up_of_the_edges_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    fork = edges.LesionObserver.fork
    monkeypatch.setattr(
        edges.LesionObserver,
        "fork",
        lambda *given: fork(*given)[::-1] if given[0].acts else fork(*given),
    )
    assert backward_lesion(build(depth=8), *batch(), skip=0.5).max_error > 0.1


# --- no trace ---


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_a_block_that_fails_half_way_leaves_everything_as_it_was(nth: int) -> None:
    block = FailsLater(nth)
    model = nn.Sequential(block, block, nn.Flatten(), nn.Linear(64, 3))
    before = picture(model)
    x, y = make_batch()
    with pytest.raises(Oops):
        backward_lesion(model, x, y)
    assert len(block.calls) == nth  # the two blocks run twice
    same(before, picture(model))


def test_errors_leave_everything_as_it_was() -> None:
    model = make_model()
    before = picture(model)
    with pytest.raises(Oops):
        backward_lesion(model, *make_batch(), loss=failing_loss)
    with pytest.raises(ShapeError):
        backward_lesion(model, *make_batch(), loss=lambda output, target: output)
    same(before, picture(model))


# --- the result, and bad use ---


def test_the_result_is_plain_data_a_table_and_a_sentence() -> None:
    found = backward_lesion(build(depth=8, width=2), *batch(n=3), "layer2.0", skip=0.0)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(data) == {
        "loss", "skip", "branch", "noise", "blocks", "weights", "same_forward", "max_error",
    }  # fmt: skip
    block = data["blocks"][1]
    assert (block["name"], block["kind"], block["lesioned"]) == ("layer2.0", "residual", True)
    assert set(block["input"]) == {"norm", "lesioned_norm", "ratio", "cosine"}
    headers, rows = found.rows()
    assert len(rows) == 3
    assert {len(row) for row in rows} == {len(headers)}
    assert [row[1] for row in rows] == ["", "yes", ""]
    entry = found.blocks[0].input
    assert found.caption() == (
        "In 1 of 3 blocks, in backward only, the skip is cut: the gradient at the input of "
        f"layer1.0 goes from {entry.norm:.2g} to {entry.lesioned_norm:.2g} (cosine "
        f"{entry.cosine:+.2f} with what it was), that of all weights keeps a cosine of "
        f"{found.weights.cosine:+.2f}; the forward pass has the same bits."
    )
    plain = backward_lesion(build(depth=8, residual=False), *batch())
    assert "the skip is cut, though no skip is there: the gradient" in plain.caption()
    noisy = backward_lesion(build(depth=8), *batch(), skip=1.0, branch=0.5, noise=0.1)
    assert "the branch is multiplied by 0.5, noise of 0.1 times its rms" in noisy.caption()


def test_bad_use_is_refused() -> None:
    x, y = batch()
    model = build(depth=8)
    with pytest.raises(ContractError, match="backward_lesion: a list is no model"):
        backward_lesion([], x, y)  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="backward_lesion: needs the labels"):
        backward_lesion(model, x)
    with pytest.raises(ContractError, match="backward_lesion: no residual block ran in Linear"):
        backward_lesion(nn.Linear(6, 6).to("float64"), *dense_batch())
    with pytest.raises(ContractError, match="lesioned: a list is no model"), lesioned([]):  # type: ignore[arg-type]
        pass
    for blocks in ("layer9.0", 3, -4, 1.5, [None]):
        with pytest.raises(UsageError, match=r"there is no residual block .* has 3: layer1\.0, "):
            backward_lesion(model, x, y, blocks)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="lesioned: there is no"), lesioned(model, blocks):  # type: ignore[arg-type]
            pass
    with pytest.raises(UsageError, match="backward_lesion: blocks is empty"):
        backward_lesion(model, x, y, [])
    for name in ("skip", "branch", "noise"):
        for value in ("0", float("nan"), float("inf")):
            with pytest.raises(UsageError, match=f"{name} must be a finite number, got"):
                backward_lesion(model, x, y, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="noise must be at least 0"):
        backward_lesion(model, x, y, noise=-1.0)
    with pytest.raises(UsageError, match="backward_lesion: a seed must be"):
        backward_lesion(model, x, y, seed=-1)
