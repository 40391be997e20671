"""The block contract: one forward, five parts, and what instruments see of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import nn, rng
from minires.errors import ContractError, ShapeError, UsageError


class Block(nn.ResidualBlock):
    """z = skip_scale * 10u + (u + 1), with u = 2x, and y = -z."""

    def pre(self, x: Any) -> Any:
        return x * 2.0

    def shortcut(self, u: Any) -> Any:
        return u * 10.0

    def branch(self, u: Any) -> Any:
        return u + 1.0

    def activation(self, z: Any) -> Any:
        return -z


class Bare(nn.ResidualBlock):
    def branch(self, u: Any) -> Any:
        return u * 3.0


x = mr.tensor([1.0, 2.0])


def test_the_parts_are_put_together_by_the_contract() -> None:
    assert Block()(x).tolist() == [-(20.0 + 3.0), -(40.0 + 5.0)]


def test_left_out_parts_are_identities_and_the_skip_is_whole() -> None:
    block = Bare()
    assert block.skip_scale == 1.0
    assert block(x).tolist() == [4.0, 8.0]


def test_skip_scale_multiplies_the_shortcut_only() -> None:
    block = Block()
    block.skip_scale = 0.5
    assert block(x).tolist() == [-(10.0 + 3.0), -(20.0 + 5.0)]
    block.skip_scale = 0.0
    assert block(x).tolist() == [-3.0, -5.0]


def test_skip_scale_can_be_learned_also_from_one_on() -> None:
    for start in (1.0, 0.5):
        block = Bare()
        block.skip_scale = nn.Parameter(np.array([start], np.float32))
        assert block(x).tolist() == [3.0 + start, 6.0 + 2.0 * start]
        block(x).sum().backward()
        assert block.skip_scale.grad.tolist() == [3.0]
        assert [name for name, _ in block.named_parameters()] == ["skip_scale"]


def test_branch_scale_multiplies_the_branch_only() -> None:
    block = Block()
    block.branch_scale = 0.5
    assert block(x).tolist() == [-(20.0 + 1.5), -(40.0 + 2.5)]
    block.skip_scale, block.branch_scale = 0.25, 0.0
    assert block(x).tolist() == [-5.0, -10.0]
    block.shortcut, block.branch_scale = None, 2.0
    assert block(x).tolist() == [-6.0, -10.0]


def test_branch_scale_can_be_learned_also_from_one_and_from_zero_on() -> None:
    for start in (1.0, 0.0):
        block = Bare()
        block.branch_scale = nn.Parameter(np.array([start], np.float32))
        assert block(x).tolist() == [1.0 + 3.0 * start, 2.0 + 6.0 * start]
        block(x).sum().backward()
        assert block.branch_scale.grad.tolist() == [9.0]
        assert [name for name, _ in block.named_parameters()] == ["branch_scale"]


def test_an_observer_is_given_the_branch_with_its_scale() -> None:
    block, recorder = Block(), Recorder()
    block.branch_scale = 2.0
    with nn.observe(recorder):
        block(x)
    assert recorder.events[1] == ("join", block, [20.0, 40.0], [6.0, 10.0])


class Counting(Block):
    """Counts how often its branch is computed."""

    ran = 0

    def branch(self, u: Any) -> Any:
        self.ran += 1
        return super().branch(u)


def test_a_branch_survives_in_training_as_often_as_it_should_and_is_not_computed_else() -> None:
    mr.manual_seed(0)
    block = Counting()
    block.survival_probability = 0.7
    outputs = [block(x).tolist() for _ in range(400)]
    assert block.ran == outputs.count([-23.0, -45.0])
    assert outputs.count([-20.0, -40.0]) == 400 - block.ran
    assert block.ran / 400 == pytest.approx(0.7, abs=4 * (0.7 * 0.3 / 400) ** 0.5)


def test_the_branch_survives_when_a_draw_of_the_default_generator_is_below_its_probability() -> (
    None
):
    block = Counting()
    block.survival_probability = 0.4
    draws = mr.manual_seed(3).random(20)
    mr.manual_seed(3)
    for draw in draws:
        before = block.ran
        block(x)
        assert (block.ran > before) == (draw < 0.4)


def test_in_evaluation_the_branch_is_multiplied_by_its_probability_and_nothing_is_drawn() -> None:
    block = Counting().eval()
    block.survival_probability, block.branch_scale = 0.5, 3.0
    state = rng.get_state()
    assert block(x).tolist() == [-(20.0 + 4.5), -(40.0 + 7.5)]
    assert rng.get_state() == state


def test_a_block_that_always_survives_draws_nothing() -> None:
    state = rng.get_state()
    Counting()(x)
    assert rng.get_state() == state


def dropping() -> Counting:
    block = Counting()
    block.survival_probability = 1e-12
    return block


def test_an_observer_is_shown_a_dropped_branch_as_zeros_without_a_history() -> None:
    class Histories(Recorder):
        def join(self, block: Any, skip: Any, branch: Any) -> Any:
            assert branch.node is None
            assert branch.dtype == skip.dtype
            return super().join(block, skip, branch)

    block, recorder = dropping(), Histories()
    with nn.observe(recorder):
        assert block(x).tolist() == [-20.0, -40.0]
    assert [event[0] for event in recorder.events] == ["fork", "join"]
    assert recorder.events[1] == ("join", block, [20.0, 40.0], [0.0, 0.0])
    assert block.ran == 0


def test_an_observer_does_not_change_the_bits_of_a_block_that_drops_its_branch() -> None:
    block, zeros = dropping(), mr.tensor([-0.0, 0.0])
    bare = block(zeros).data.tobytes()
    with nn.observe(nn.Observer()):
        assert block(zeros).data.tobytes() == bare


def test_an_observer_can_put_something_in_the_place_of_a_dropped_branch() -> None:
    class Puts(nn.Observer):
        def join(self, block: Any, skip: Any, branch: Any) -> Any:
            return None, branch + 1.0

    with nn.observe(Puts()):
        assert dropping()(x).tolist() == [-1.0, -1.0]


@pytest.mark.parametrize("training", [True, False])
def test_a_plain_block_cannot_drop_its_branch(training: bool) -> None:
    block = dropping().train(training)
    block.shortcut = None
    with pytest.raises(UsageError, match=r"Counting: survival_probability is 1e-12, but a plain b"):
        block(x)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("p", [0.0, -0.5, 1.5, float("nan")])
def test_a_probability_that_is_none_is_refused(p: float, training: bool) -> None:
    block = Bare().train(training)
    block.survival_probability = p
    with pytest.raises(UsageError, match=f"Bare: survival_probability is {p}, and must be above 0"):
        block(x)


def test_a_block_without_shortcut_is_a_plain_block() -> None:
    block = Block()
    block.shortcut = None
    assert block(x).tolist() == [-3.0, -5.0]
    assert Block()(x).tolist() == [-23.0, -45.0]  # the class is as it was


def test_a_scale_of_zero_and_no_shortcut_have_the_same_gradient() -> None:
    def gradient(**settings: Any) -> list[float]:
        block, leaf = Block(), mr.tensor([1.0, 2.0], requires_grad=True)
        for name, value in settings.items():
            setattr(block, name, value)
        block(leaf).sum().backward()
        return leaf.grad.tolist()

    assert gradient(skip_scale=0.0) == gradient(shortcut=None) == [-2.0, -2.0]
    assert gradient() == [-22.0, -22.0]


def test_parts_can_be_modules_assigned_under_their_names() -> None:
    class Projected(nn.ResidualBlock):
        def __init__(self) -> None:
            super().__init__()
            self.pre = nn.ReLU()
            self.shortcut = nn.Linear(2, 3, bias=False)
            self.branch = nn.Linear(2, 3)
            self.activation = nn.Identity()

    block = Projected()
    u = mr.tensor([[-1.0, 2.0]])
    expected = block.shortcut(u.relu()) + block.branch(u.relu())
    np.testing.assert_array_equal(block(u).data, expected.data)
    names = [name for name, _ in block.named_parameters()]
    assert names == ["shortcut.weight", "branch.weight", "branch.bias"]


def test_a_block_must_have_a_branch() -> None:
    with pytest.raises(NotImplementedError, match=r"ResidualBlock must define branch\(u\)"):
        nn.ResidualBlock()(x)


def test_overriding_forward_is_refused_where_it_is_written() -> None:
    def define() -> type:
        class Own(nn.ResidualBlock):
            def forward(self, x: Any) -> Any:
                return x

        return Own

    with pytest.raises(ContractError, match=r"Own overrides forward\(\).*pre, shortcut, branch"):
        define()
    with pytest.raises(TypeError):
        type("Sub", (Bare,), {"forward": lambda self, x: x})


def test_terms_of_different_shapes_are_an_error_that_names_the_mend() -> None:
    class Widens(nn.ResidualBlock):
        def branch(self, u: Any) -> Any:
            return mr.cat([u, u])

    with pytest.raises(ShapeError, match=r"Widens: the shortcut gives \(2,\).*\(4,\).*project"):
        Widens()(x)


@pytest.mark.parametrize(
    ("branch", "padding", "stride"),
    [
        (lambda: nn.Conv2d(2, 2, 3), True, False),
        (lambda: nn.Sequential(nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)), True, True),  # 8 to 4
        (lambda: nn.Conv2d(2, 3, 3), False, False),
        (lambda: nn.Conv2d(2, 2, 2), False, False),
    ],
)
def test_a_branch_that_is_smaller_by_a_forgotten_padding_is_asked_about_it(
    branch: Callable[[], nn.Module], padding: bool, stride: bool
) -> None:
    block = nn.ResidualBlock()
    block.branch = branch()
    with pytest.raises(ShapeError, match="pad with zeros or project") as caught:
        block(mr.zeros(1, 2, 8, 8))
    assert ("is padding=1 missing in the branch?" in str(caught.value)) == padding
    assert ("lack the stride" in str(caught.value)) == stride


NO_TENSORS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "nothing": (lambda given: None, "returned None. Is its return statement missing"),
    "an array": (lambda given: given.data, "returned a ndarray. Return the tensor itself"),
    "a tuple": (lambda given: (given, given), "returned a tuple. Return one tensor"),
    "a number": (lambda given: 1.0, "returned a float. Return the tensor itself"),
}


@pytest.mark.parametrize("part", ["pre", "shortcut", "branch", "activation"])
@pytest.mark.parametrize("what", NO_TENSORS)
def test_a_part_that_returns_no_tensor_is_an_error_that_names_block_and_part(
    what: str, part: str
) -> None:
    value, text = NO_TENSORS[what]
    block = Block()
    setattr(block, part, value)
    with pytest.raises(ContractError, match=rf"^Block: {part} must return a tensor, but {text}"):
        block(x)
    block.skip_scale = 0.5
    with nn.observe(nn.Observer()), pytest.raises(ContractError, match=f"{part} must return"):
        block(x)


def test_a_block_without_parameters_still_takes_arrays_and_gives_them() -> None:
    out = Bare()(np.array([1.0, 2.0]))
    assert type(out) is np.ndarray
    assert out.tolist() == [4.0, 8.0]


# --- observers ---


class Recorder(nn.Observer):
    def __init__(self) -> None:
        self.events: list[tuple[Any, ...]] = []

    def fork(self, block: Any, x: Any, u: Any) -> Any:
        self.events.append(("fork", block, x.tolist(), u.tolist()))
        return u, u

    def join(self, block: Any, skip: Any, branch: Any) -> Any:
        term = None if skip is None else skip.tolist()
        self.events.append(("join", block, term, branch.tolist()))
        return skip, branch


def test_an_observer_sees_the_fork_and_the_two_terms_of_the_sum() -> None:
    block, recorder = Block(), Recorder()
    block.skip_scale = 0.5
    with nn.observe(recorder):
        block(x)
    block(x)  # outside the block of code
    assert recorder.events == [
        ("fork", block, [1.0, 2.0], [2.0, 4.0]),
        ("join", block, [10.0, 20.0], [3.0, 5.0]),
    ]


def test_an_observer_sees_that_a_plain_block_has_no_skip() -> None:
    block, recorder = Bare(), Recorder()
    block.shortcut = None
    with nn.observe(recorder):
        block(x)
    assert recorder.events[1] == ("join", block, None, [3.0, 6.0])


def test_an_observer_can_give_each_way_its_own_tensor() -> None:
    class Splits(nn.Observer):
        def fork(self, block: Any, x: Any, u: Any) -> Any:
            return u * 1.0, u * 0.0

    with nn.observe(Splits()):
        assert Block()(x).tolist() == [-21.0, -41.0]


def test_an_observer_can_change_the_terms_of_the_sum() -> None:
    class Alone(nn.Observer):
        def join(self, block: Any, skip: Any, branch: Any) -> Any:
            return None, skip * 2.0

    assert Block()(x).tolist() == [-23.0, -45.0]
    with nn.observe(Alone()):
        assert Block()(x).tolist() == [-40.0, -80.0]


def test_the_default_observer_changes_nothing() -> None:
    with nn.observe(nn.Observer()):
        assert Block()(x).tolist() == [-23.0, -45.0]


def test_observers_nest_end_with_exceptions_and_stay_in_their_thread() -> None:
    outer, inner, block = Recorder(), Recorder(), Bare()
    with nn.observe(outer):
        with nn.observe(inner):
            block(x)
        with pytest.raises(NotImplementedError), nn.observe(inner):
            nn.ResidualBlock()(x)
        thread = threading.Thread(target=lambda: block(x))
        thread.start()
        thread.join()
        block(x)
    assert [event[0] for event in inner.events] == ["fork", "join", "fork"]
    assert [event[0] for event in outer.events] == ["fork", "join"]
