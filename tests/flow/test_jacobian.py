"""The Jacobian lens, held against dense Jacobians by finite differences and known values."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.errors import ContractError, UsageError
from minires.flow.jacobian import JacobianLens, jacobian_lens
from tests.flow.test_trace import FailsLater, Oops, make_batch, picture, same

FAMILIES: dict[str, dict[str, Any]] = {
    "residual": {"depth": 14},
    "plain": {"depth": 14, "residual": False},
    "projection": {"depth": 8, "shortcut": "C"},
    "without norm": {"depth": 8, "norm": None, "shortcut": "B"},
    "pre-activation": {"depth": 14, "preactivation": True, "shortcut": "B"},
    "plain pre-activation": {"depth": 8, "preactivation": True, "residual": False},
    "bottleneck": {"depth": 11, "block": "bottleneck"},
}


def build(dtype: str = "float64", *, seed: int = 0, **options: Any) -> Any:
    mr.manual_seed(seed)
    model = mr.models.cifar_resnet(**{"width": 2, "in_channels": 1, "num_classes": 3, **options})
    draw = np.random.default_rng(seed + 1)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        # Away from 1 and 0, so that no mix-up can hide, and nothing stands at the kink of a ReLU.
        if ("bn" in name or "bias" in name) and tensor.ndim:
            tensor.data[...] = draw.uniform(0.5, 1.5, tensor.shape)
    return model.to(dtype)


def images(dtype: str = "float64", n: int = 2) -> np.ndarray:
    return np.random.default_rng(4).standard_normal((n, 1, 4, 4)).astype(dtype)


def differences(run: Callable[[mr.Tensor], mr.Tensor], at: np.ndarray) -> np.ndarray:
    """The dense Jacobian (n_out, n_in) of one sample (1, ...) by central differences.

    All of them in one batch, as the samples do not influence each other.
    """
    h, n_in = 1e-6, at.size
    shifts = (h * np.eye(n_in)).reshape(n_in, *at.shape[1:])
    with mr.no_grad():
        rise = run(mr.tensor(at + shifts)).data - run(mr.tensor(at - shifts)).data
    return rise.reshape(n_in, -1).T / (2 * h)


def check_values(found: Any, run: Callable[[mr.Tensor], mr.Tensor], at: np.ndarray) -> None:
    """All numbers of one ``SingularValues`` against the dense Jacobian of each sample."""
    for i in range(len(at)):
        J = differences(run, at[i : i + 1])
        assert (found.n_out, found.n_in) == J.shape
        expected = np.linalg.svd(J, compute_uv=False)
        np.testing.assert_allclose(found.values[i], expected, atol=1e-6)
        assert found.mean_squares[i] == pytest.approx((J**2).sum() / len(J), abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_exact_values_are_those_of_a_dense_jacobian_by_finite_differences(family: str) -> None:
    model, x = build(**FAMILIES[family]), images()
    found = jacobian_lens(model, x, method="exact")
    model.eval()
    blocks = model.blocks()
    assert len(found.blocks) == len(blocks)
    with mr.no_grad():
        at = F.relu(model.bn1(model.conv1(mr.tensor(x))))
        for k, (block, entry) in enumerate(zip(blocks, found.blocks, strict=True)):
            check_values(entry.branch, block.branch, block.pre(at).data)
            check_values(entry.block, block, at.data)
            check_values(entry.onward, nn.Sequential(*blocks[k:]), at.data)
            at = block(at)
    assert found.max_error < 1e-12
    assert found.method == "exact"
    kinds = {entry.kind for entry in found.blocks}
    assert kinds == {"plain" if "plain" in family else "residual"}


def test_onward_is_the_product_of_the_blocks() -> None:
    model, x = build(depth=14), images(n=1)
    found = jacobian_lens(model, x)
    model.eval()
    with mr.no_grad():
        at = F.relu(model.bn1(model.conv1(mr.tensor(x))))
        Js = []
        for block in model.blocks():
            Js.append(differences(block, at.data))
            at = block(at)
    for k, entry in enumerate(found.blocks):
        product = np.eye(Js[-1].shape[0])
        for J in reversed(Js[k:]):
            product = product @ J
        expected = np.linalg.svd(product, compute_uv=False)
        np.testing.assert_allclose(entry.onward.values[0], expected, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("family", FAMILIES)
def test_lanczos_finds_the_largest_of_the_exact_ones(family: str, dtype: str) -> None:
    model, x = build(dtype, **FAMILIES[family]), images(dtype, n=3)
    exact = jacobian_lens(model, x, method="exact")
    found = jacobian_lens(model, x, method="lanczos", top=2)
    assert found.method == "lanczos"
    assert found.max_error <= (1e-4 if dtype == "float64" else 1e-3)
    for entry, other in zip(found.blocks, exact.blocks, strict=True):
        for part in ("branch", "block", "onward"):
            few, all_ = getattr(entry, part), getattr(other, part)
            assert few.values.shape == (3, 2)
            assert not few.exact
            np.testing.assert_allclose(few.values, all_.values[:, :2], rtol=1e-4)
            assert few.largest == pytest.approx(all_.largest, rel=1e-4)
            assert few.smallest is few.condition is few.rank is few.near_one is None
            assert few.quantiles is None


def test_the_mean_square_that_random_vectors_estimate_is_near_the_exact_one() -> None:
    model, x = build(depth=8, width=4), images(n=8)
    exact, found = (jacobian_lens(model, x, method=m) for m in ("exact", "lanczos"))
    for entry, other in zip(found.blocks, exact.blocks, strict=True):
        assert entry.block.mean_square == pytest.approx(other.block.mean_square, rel=0.15)
        assert entry.onward.rms == pytest.approx(other.onward.rms, rel=0.15)


# --- networks whose values are known ---


class Turn(nn.ResidualBlock):
    """A branch that is one matrix: J = skip_scale * I + Q."""

    def __init__(self, matrix: np.ndarray, skip_scale: float = 1.0):
        super().__init__()
        self.linear = nn.Linear(len(matrix), len(matrix), bias=False).to("float64")
        self.linear.weight.data[...] = matrix
        self.skip_scale = skip_scale

    def branch(self, u: Any) -> Any:
        return self.linear(u)


ANGLES = np.array([0.1, 0.7, 1.5, 2.9])


def rotation() -> np.ndarray:
    """Orthogonal (8, 8): turns by ANGLES in four planes, in a random basis."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))
    turns = np.zeros((8, 8))
    for i, angle in enumerate(ANGLES):
        cosine, sine = math.cos(angle), math.sin(angle)
        turns[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[cosine, -sine], [sine, cosine]]
    return basis @ turns @ basis.T


@pytest.mark.parametrize("method", ["exact", "lanczos"])
def test_an_orthogonal_branch_has_values_1_and_its_block_those_of_i_plus_q(method: str) -> None:
    model = nn.Sequential(*(Turn(rotation()) for _ in range(3)))
    x = np.random.default_rng(1).standard_normal((2, 8))
    found = jacobian_lens(model, x, method=method, top=8, steps=8)
    stretch = np.repeat(np.abs(1 + np.exp(1j * ANGLES)), 2)  # 2 cos(angle / 2), in a plane
    for k, entry in enumerate(found.blocks):
        np.testing.assert_allclose(entry.branch.values, np.ones((2, 8)), rtol=1e-10)
        np.testing.assert_allclose(entry.block.values, [stretch] * 2, rtol=1e-8)
        np.testing.assert_allclose(entry.onward.values, [stretch ** (3 - k)] * 2, rtol=1e-6)
    assert found.max_error < 1e-6


def test_the_skip_scale_is_in_the_jacobian_of_the_block() -> None:
    found = jacobian_lens(Turn(rotation(), 0.25), np.ones((1, 8)))
    stretch = np.sort(np.repeat(np.abs(0.25 + np.exp(1j * ANGLES)), 2))[::-1]
    np.testing.assert_allclose(found.blocks[0].block.values[0], stretch, rtol=1e-10)


def test_the_numbers_of_a_known_spectrum() -> None:
    matrix = np.diag([3.0, 0.4, 0.0, 0.0]) - np.eye(4)
    found = jacobian_lens(Turn(matrix), np.ones((2, 4))).blocks[0].block
    assert (found.n_in, found.n_out, found.exact) == (4, 4, True)
    assert found.largest == pytest.approx(3.0)
    assert found.smallest == 0.0
    assert found.rank == 2.0
    assert found.condition == math.inf
    assert found.near_one == 0.0
    assert found.mean_square == pytest.approx((9 + 0.16) / 4)
    assert found.rms == pytest.approx(math.sqrt((9 + 0.16) / 4))
    assert found.to_dict()["condition"] is None
    regular = jacobian_lens(Turn(np.diag([3.0, 0.0, -0.5, 9.0])), np.ones((2, 4))).blocks[0].block
    assert regular.condition == pytest.approx(10.0 / 0.5)
    assert regular.near_one == pytest.approx(0.5)
    assert regular.quantiles == pytest.approx(
        np.quantile([10, 4, 1, 0.5] * 2, [0.05, 0.25, 0.5, 0.75, 0.95])
    )


def test_a_branch_of_zeros_leaves_a_clean_identity_where_all_values_are_1() -> None:
    model = build(depth=14, preactivation=True, zero_init_residual=True)
    found = jacobian_lens(model, images())
    for k in (0, 1, 3, 5):  # the others change the dimensions
        entry = found.blocks[k]
        assert not entry.branch.values.any()
        assert entry.branch.rank == entry.branch.error == 0.0
        np.testing.assert_allclose(entry.block.values, np.ones_like(entry.block.values), rtol=1e-12)
        assert entry.block.near_one == 1.0


def test_a_relu_after_the_sum_takes_rank_and_pre_activation_does_not() -> None:
    after = jacobian_lens(build(depth=8), images()).blocks[0].block
    before = jacobian_lens(build(depth=8, preactivation=True), images()).blocks[0].block
    assert after.rank is not None
    assert after.rank < after.n_out
    assert before.rank == before.n_out


@pytest.mark.parametrize("method", ["exact", "lanczos"])
def test_a_branch_that_does_not_depend_on_its_input_has_values_0(method: str) -> None:
    class Constant(nn.ResidualBlock):
        def branch(self, u: Any) -> Any:
            return mr.ones(*u.shape, dtype="float64")

    found = jacobian_lens(Constant(), np.ones((2, 3)), method=method).blocks[0]
    assert not found.branch.values.any()
    assert found.branch.error == 0.0
    np.testing.assert_allclose(found.block.values, np.ones_like(found.block.values))


# --- any model of blocks ---


class Nested(nn.ResidualBlock):
    """A block with a block in its branch."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Turn(rotation(), 0.5)

    def branch(self, u: Any) -> Any:
        return self.inner(u) * 2.0


def test_a_block_inside_another_goes_onward_to_the_end_of_the_outer_one() -> None:
    found = jacobian_lens(nn.Sequential(Nested()), np.ones((1, 8)))
    outer, inner = found.blocks
    assert [outer.name, inner.name] == ["0", "0.inner"]
    Q = rotation()
    whole, alone = 3 * np.eye(8) + 2 * Q - np.eye(8), 0.5 * np.eye(8) + Q
    for values, J in (
        (outer.onward, whole + 1e-16),
        (outer.block, np.eye(8) + 2 * alone),
        (inner.block, alone),
    ):
        expected = np.linalg.svd(J, compute_uv=False)
        np.testing.assert_allclose(values.values[0], expected, rtol=1e-9)
    # The input of the inner block is that of the outer one, and feeds both ways.
    np.testing.assert_allclose(inner.onward.values, outer.onward.values, rtol=1e-9)


def test_layers_between_blocks_count_onward() -> None:
    model = nn.Sequential(
        Turn(rotation()), nn.Linear(8, 8, bias=False).to("float64"), Turn(rotation())
    )
    found = jacobian_lens(model, np.ones((1, 8)))
    J = np.eye(8) + rotation()
    expected = np.linalg.svd(J @ model[1].weight.data @ J, compute_uv=False)
    np.testing.assert_allclose(found.blocks[0].onward.values[0], expected, rtol=1e-9)


def test_a_block_used_twice_has_an_entry_for_each_use() -> None:
    block = Turn(rotation())
    found = jacobian_lens(nn.Sequential(block, block), np.ones((1, 8)))
    first, second = found.blocks
    np.testing.assert_allclose(first.onward.values, second.onward.values**2, rtol=1e-8)


def test_more_outputs_than_copies_that_fit_in_a_pass() -> None:
    matrix = np.random.default_rng(2).standard_normal((70, 70))
    found = jacobian_lens(Turn(matrix), np.ones((1, 70)))
    expected = np.linalg.svd(np.eye(70) + matrix, compute_uv=False)
    np.testing.assert_allclose(found.blocks[0].block.values[0], expected, rtol=1e-9)
    np.testing.assert_allclose(found.blocks[0].onward.values[0], expected, rtol=1e-9)


def test_auto_is_exact_up_to_512_numbers_and_lanczos_above() -> None:
    assert jacobian_lens(Turn(np.eye(9)), np.ones((1, 9))).method == "exact"
    assert jacobian_lens(Turn(np.eye(513)), np.ones((1, 513)), steps=2).method == "lanczos"


def test_the_mode_of_the_model_does_not_matter() -> None:
    x = images()
    in_training = jacobian_lens(build(depth=8).train(), x)
    in_evaluation = jacobian_lens(build(depth=8).eval(), x)
    assert in_training.to_dict() == in_evaluation.to_dict()


def test_a_sample_has_the_values_it_has_alone() -> None:
    x = images(n=3)
    together = jacobian_lens(build(depth=8), x)
    alone = jacobian_lens(build(depth=8), x[1:2])
    for entry, other in zip(together.blocks, alone.blocks, strict=True):
        np.testing.assert_allclose(entry.block.values[1], other.block.values[0], rtol=1e-10)


def test_it_runs_where_gradients_are_switched_off_and_with_frozen_parameters() -> None:
    model = build(depth=8)
    expected = jacobian_lens(model, images()).to_dict()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with mr.no_grad():
        assert jacobian_lens(model, images()).to_dict() == expected


def test_a_float32_model_can_be_looked_at_in_float64() -> None:
    model, x = build("float32", depth=8), images("float32")
    found = jacobian_lens(model, x, dtype="float64")
    assert found.max_error < 1e-12 < jacobian_lens(model, x).max_error
    assert model.conv1.weight.dtype == np.float32
    reference = jacobian_lens(model.to("float64"), x.astype("float64"))
    assert found.to_dict() == reference.to_dict()


# --- the check ---


def test_the_check_finds_samples_that_influence_each_other() -> None:
    class Coupled(nn.ResidualBlock):
        def branch(self, u: Any) -> Any:
            return u - u.mean(dim=0, keepdim=True)

    found = jacobian_lens(Coupled(), np.random.default_rng(0).standard_normal((4, 3)))
    assert found.max_error > 0.1
    assert "samples of a batch influence each other" in found.caption()


def test_the_residual_of_too_few_steps_is_reported() -> None:
    found = jacobian_lens(build(depth=8), images(), method="lanczos", steps=2)
    assert found.max_error > 1e-2
    assert "give it more steps" in found.caption()


def test_values_that_are_not_finite_are_said_to_be_so() -> None:
    model = Turn(np.full((3, 3), np.nan))
    for method in ("exact", "lanczos"):
        found = jacobian_lens(model, np.ones((1, 3)), method=method)
        assert math.isnan(found.max_error)
        assert "not finite" in found.caption()
        json.dumps(found.to_dict(), allow_nan=False)


# --- the result ---


def test_the_result_is_plain_data_a_table_and_a_sentence() -> None:
    found = jacobian_lens(build(depth=8), images())
    assert isinstance(found, JacobianLens)
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [block["name"] for block in data["blocks"]] == ["layer1.0", "layer2.0", "layer3.0"]
    assert data["blocks"][0]["onward"]["largest"] == found.blocks[0].onward.largest
    assert len(data["blocks"][0]["block"]["quantiles"]) == 5
    assert "values" not in data["blocks"][0]["block"]
    headers, rows = found.rows()
    assert all(len(row) == len(headers) for row in rows)
    assert "layer3.0" in found.table()
    assert found.caption() == data["caption"]
    assert f"{found.blocks[0].onward.largest:.3g}" in found.caption()
    few = jacobian_lens(build(depth=8), images(), method="lanczos")
    assert "block min" not in few.table()
    assert "residuals of at most" in few.caption()
    assert len(few.plot().axes) == len(found.plot().axes) == 3


@pytest.mark.parametrize("method", ["exact", "lanczos"])
def test_the_same_seed_gives_the_same_bits_and_draws_nothing_from_the_default_generator(
    method: str,
) -> None:
    found = []
    for _ in range(2):
        model = build(depth=8)
        mr.manual_seed(len(found))
        found.append(jacobian_lens(model, images(), method=method, seed=3).to_dict())
    assert found[0] == found[1]


# --- no trace ---


@pytest.mark.parametrize("method", ["exact", "lanczos"])
@pytest.mark.parametrize("nth", [1, 2, 3, 7])
def test_a_block_that_fails_half_way_leaves_everything_as_it_was(nth: int, method: str) -> None:
    block = FailsLater(nth)
    model = nn.Sequential(block, block, nn.Flatten(), nn.Linear(64, 3))
    before = picture(model)
    with pytest.raises(Oops):
        jacobian_lens(model, make_batch()[0], method=method)
    assert len(block.calls) == nth
    same(before, picture(model))


# --- bad use ---


def test_bad_use_is_named_with_its_mend() -> None:
    block, x = Turn(np.eye(3)), np.ones((2, 3))
    with pytest.raises(ContractError, match=r"jacobian_lens: a list is no model"):
        jacobian_lens([block], x)  # type: ignore[arg-type]
    with pytest.raises(ContractError, match=r"jacobian_lens: no residual block ran in Linear"):
        jacobian_lens(nn.Linear(3, 3), x.astype("float32"))
    with pytest.raises(UsageError, match=r"unknown method 'power'; choose 'auto', 'exact'"):
        jacobian_lens(block, x, method="power")
    with pytest.raises(UsageError, match=r"top=0 and steps=60"):
        jacobian_lens(block, x, top=0)
    with pytest.raises(UsageError, match=r"top=3 and steps=2"):
        jacobian_lens(block, x, top=3, steps=2)
    with pytest.raises(UsageError, match=r"steps must be a whole number"):
        jacobian_lens(block, x, steps=2.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"x of shape \(0, 3\) has no samples"):
        jacobian_lens(block, x[:0])
    with pytest.raises(UsageError, match=r"x of shape \(\) has no samples"):
        jacobian_lens(block, np.float32(1))


def test_a_block_that_folds_the_samples_into_other_dimensions_is_refused() -> None:
    class Folding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Turn(np.eye(3))

        def forward(self, x: Any) -> Any:
            return self.block(x.reshape(-1, 3))

    with pytest.raises(
        ContractError, match=r"block 'block' has a tensor of shape \(8, 3\) in a batch of 2"
    ):
        jacobian_lens(Folding(), np.ones((2, 4, 3)))


def test_a_block_whose_forward_is_called_past_its_hooks_is_refused() -> None:
    class Direct(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.block = Turn(np.eye(3))

        def forward(self, x: Any) -> Any:
            return self.block.forward(x)

    with pytest.raises(ContractError, match=r"forward method of block 'block' was called directly"):
        jacobian_lens(Direct(), np.ones((2, 3)))
