"""What ``diagnose`` promises: the planted mistake is named, and nothing is that was not planted."""

from __future__ import annotations

import itertools
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest

import minires as mr
from minires.autograd import Function
from minires.check import Diagnosis, diagnose
from minires.check.mistakes import BANK
from minires.errors import UsageError
from minires.functional.activation import LeakyReLU, ReLU, Sigmoid, Tanh
from minires.functional.linalg import MatMul
from tests.check.plants import PLANTS, Plant

STYLES = ("loops", "vectorised", "function")
PLANT = {(plant.op, plant.style): plant for plant in PLANTS}

each_plant = pytest.mark.parametrize(
    "plant", [pytest.param(p, id=f"{p.op}-{p.style}") for p in PLANTS]
)
each_slip = pytest.mark.parametrize(
    ("plant", "slip"),
    [pytest.param(p, s, id=f"{p.op}-{s}-{p.style}") for p in PLANTS for s in p.slips],
)
each_op = pytest.mark.parametrize("op", list(BANK))


def judge(plant: Plant, slip: str = "", seed: int = 0) -> Diagnosis:
    return diagnose(*plant.make(slip), op=plant.op, seed=seed)


def judge_spoilt(op: str, spoil: Callable[[list[Any], Any], Any], slip: str = "") -> Diagnosis:
    """The vectorised backward, with what it returns handed on by ``spoil(grads, grad_out)``."""
    forward, backward = PLANT[op, "vectorised"].make(slip)

    def spoilt(grad_out, cache):
        grads = backward(grad_out.copy(), cache)
        return spoil(list(grads) if isinstance(grads, tuple | list) else [grads], grad_out)

    return diagnose(forward, spoilt, op=op)


# --- the plants ---


def test_every_mistake_of_the_bank_is_planted_in_three_styles() -> None:
    styles = defaultdict(set)
    for plant in PLANTS:
        for slip in plant.slips:
            styles[plant.op, slip].add(plant.style)
    in_bank = {(op, mistake.name) for op in BANK for mistake in BANK[op].mistakes}
    assert {known for known in in_bank if len(styles[known]) < 3} == set()
    assert set(styles) == in_bank


def test_the_bank_is_as_large_as_promised() -> None:
    assert len(BANK) >= 10
    assert sum(len(operation.mistakes) for operation in BANK.values()) >= 40


def test_every_operation_has_each_style_and_calling_convention() -> None:
    assert {(op, style) for op in BANK for style in STYLES} <= set(PLANT)


@each_plant
def test_a_right_backward_is_called_right(plant: Plant) -> None:
    diagnosis = judge(plant)
    assert diagnosis.correct, str(diagnosis)
    assert (diagnosis.names, diagnosis.wrong, diagnosis.left_out > 0) == ((), (), _lacks(plant))


def _lacks(plant: Plant) -> bool:
    return (plant.op, plant.style) == ("conv2d", "every number by itself")  # takes no dilation


@each_slip
def test_the_planted_mistake_is_named_and_no_other(plant: Plant, slip: str) -> None:
    diagnosis = judge(plant, slip)
    assert diagnosis.names == (slip,), str(diagnosis)
    assert not diagnosis.correct
    assert diagnosis.forward_correct


@each_plant
@pytest.mark.parametrize("seed", [1, 7, 12345])
def test_the_verdict_does_not_hang_on_the_seed(plant: Plant, seed: int) -> None:
    found = {slip: judge(plant, slip, seed).names for slip in plant.slips}
    assert found == {slip: (slip,) for slip in plant.slips}
    assert judge(plant, seed=seed).correct


def test_the_library_s_own_functions_are_right() -> None:
    own = {
        "relu": ReLU,
        "leaky_relu": LeakyReLU,
        "sigmoid": Sigmoid,
        "tanh": Tanh,
        "matmul": MatMul,
    }
    for op, function in own.items():
        assert diagnose(function.forward, function.backward, op).correct


# --- more than one mistake ---


@pytest.mark.parametrize("op", ["linear", "conv2d", "batch_norm"])
def test_mistakes_in_two_gradients_are_both_named(op: str) -> None:
    plant, inputs = PLANT[op, "vectorised"], BANK[op].inputs
    forward, _ = plant.make("")
    touched = {slip: judge(plant, slip).wrong for slip in plant.slips}
    where = {slip: names[0] for slip, names in touched.items() if len(names) == 1}
    pairs = [p for p in itertools.combinations(where, 2) if where[p[0]] != where[p[1]]]
    assert len(pairs) >= 8
    for pair in pairs:
        first, second = (plant.make(slip)[1] for slip in pair)

        def backward(grad_out, cache, first=first, second=second, of_second=where[pair[1]]):
            grads = zip(inputs, first(grad_out, cache), second(grad_out, cache), strict=True)
            return [b if name == of_second else a for name, a, b in grads]

        diagnosis = diagnose(forward, backward, op)
        assert set(diagnosis.names) == set(pair), str(diagnosis)
        assert set(diagnosis.wrong) == {where[slip] for slip in pair}


def test_one_slip_that_spoils_two_gradients_is_named_for_each() -> None:
    def forward(x, weight, bias, stride=1):
        (OH, OW), (KH, KW) = (
            ((np.array(x.shape[2:]) - weight.shape[2:]) // stride + 1),
            weight.shape[2:],
        )
        out = np.zeros((len(x), len(weight), OH, OW))
        for n, o, i, j in np.ndindex(out.shape):
            r, c = i * stride, j * stride
            out[n, o, i, j] = np.sum(x[n, :, r : r + KH, c : c + KW] * weight[o]) + bias[o]
        return out

    def backward(grad_out, x, weight, bias, stride=1):
        (KH, KW), grads = weight.shape[2:], [np.zeros_like(given) for given in (x, weight, bias)]
        for n, o, r, c in np.ndindex(grad_out.shape):
            grads[0][n, :, r : r + KH, c : c + KW] += weight[o] * grad_out[n, o, r, c]
            grads[1][o] += x[n, :, r : r + KH, c : c + KW] * grad_out[n, o, r, c]
            grads[2][o] += grad_out[n, o, r, c]
        return grads

    assert set(diagnose(forward, backward, "conv2d").names) == {
        "stride_forgotten",
        "stride_forgotten_in_weight",
    }


TWICE = [
    *(("matmul", slip, "a", "b") for slip in PLANT["matmul", "vectorised"].slips),
    *(("mse_loss", what, "x", "target") for what in ("two_missing", "not_averaged")),
    ("broadcast_mul", "own_factor", "a", "b"),
    ("batch_norm", "grad_weight_averaged", "weight", "bias"),
    ("add_skip", "mask_forgotten", "x", "w1"),
]


@pytest.mark.parametrize(("op", "slip", "one", "other"), TWICE)
def test_a_slip_made_in_one_of_two_gradients_is_named_too(
    op: str, slip: str, one: str, other: str
) -> None:
    forward, right = PLANT[op, "vectorised"].make("")
    wrong = PLANT[op, "vectorised"].make(slip)[1]
    for name in (one, other):

        def backward(grad_out, cache, name=name):
            grads = zip(
                BANK[op].inputs, right(grad_out, cache), wrong(grad_out, cache), strict=True
            )
            return [b if of == name else a for of, a, b in grads]

        diagnosis = diagnose(forward, backward, op)
        assert (diagnosis.names, diagnosis.wrong) == ((slip,), (name,))


def test_the_target_s_sign_alone_is_another_slip_than_both_signs() -> None:
    def backward(grad_out, cache, signs):
        grad = 2 * cache / cache.size * grad_out
        return signs[0] * grad, signs[1] * grad

    forward, _ = PLANT["mse_loss", "vectorised"].make("")
    wanted = {(1, -1): (), (-1, 1): ("sign_reversed",), (1, 1): ("target_same_sign",)}
    for signs, names in wanted.items():
        found = diagnose(forward, lambda g, cache, s=signs: backward(g, cache, s), "mse_loss")
        assert found.names == names


def test_a_known_mistake_is_named_beside_an_unknown_one() -> None:
    diagnosis = judge_spoilt(
        "linear", lambda grads, g: [grads[0], 1.01 * grads[1], grads[2]], "bias_averaged"
    )
    assert diagnosis.names == ("bias_averaged",)
    assert set(diagnosis.wrong) == {"weight", "bias"}
    assert "grad_weight is wrong in a way that the bank does not know" in str(diagnosis)
    assert diagnosis.worst is not None
    assert diagnosis.worst.name == "grad_weight"  # of the other the hint says enough


def test_two_mistakes_in_one_gradient_are_not_taken_for_a_third() -> None:
    def spoil(grads, grad_out):
        return [grads[0], grads[1] / 2, grads[2]]

    assert judge_spoilt("linear", spoil, "weight_averaged_over_batch").names == ()
    assert judge_spoilt("batch_norm", spoil, "grad_weight_of_x").names == ()


def test_mistakes_that_cannot_be_told_apart_are_all_named_and_that_is_said() -> None:
    forward, wrong = PLANT["max_pool2d", "vectorised"].make("ties_all_paid")

    def backward(grad_out, cache):
        if cache["x"].shape != (2, 1, 5, 5):  # one problem, with ties and a stride of 1
            raise NotImplementedError
        return wrong(grad_out, cache)

    diagnosis = diagnose(forward, backward, "max_pool2d")
    assert diagnosis.names == ("ties_all_paid", "stride_forgotten")
    assert any("cannot tell the mistakes named here apart" in text for text in diagnosis.remarks)
    assert any("7 of 8 problems" in text for text in diagnosis.remarks)


# --- wrong in ways that nobody knows ---


def _noise(grads: list[Any], grad_out: Any) -> list[Any]:
    rng = np.random.default_rng(3)
    return [None if g is None else rng.standard_normal(g.shape) for g in grads]


def _each(change: Callable[[Any], Any]) -> Callable[[list[Any], Any], list[Any]]:
    return lambda grads, grad_out: [None if g is None else change(g) for g in grads]


UNKNOWN = {
    "scaled": _each(lambda g: 1.001 * g),
    "zero": _each(np.zeros_like),
    "negative": _each(lambda g: -g),
    "squared": _each(lambda g: g * g),
    "shifted": _each(lambda g: np.roll(g, 1)),
    "not a number": _each(lambda g: g * np.nan),
    "noise": _noise,
}


@each_op
@pytest.mark.parametrize("way", UNKNOWN)
def test_what_the_bank_does_not_know_is_not_named(op: str, way: str) -> None:
    diagnosis = judge_spoilt(op, UNKNOWN[way])
    reversed_sign = any(mistake.name == "sign_reversed" for mistake in BANK[op].mistakes)
    known = ("sign_reversed",) if way == "negative" and reversed_sign else ()
    assert diagnosis.names == known, str(diagnosis)
    assert not diagnosis.correct
    assert set(diagnosis.wrong) == set(BANK[op].gradients)


@each_op
def test_the_gradient_of_another_problem_is_not_named(op: str) -> None:
    kept: list[list[Any]] = []

    def stale(grads, grad_out):
        kept.append(grads)
        return kept[max(len(kept) - 2, 0)]

    diagnosis = judge_spoilt(op, stale)
    assert (diagnosis.names, diagnosis.correct) == ((), False)


def test_a_wrong_shape_with_the_right_numbers_is_not_right() -> None:
    diagnosis = judge_spoilt("linear", lambda grads, g: [*grads[:2], grads[2][None]])
    assert (diagnosis.names, diagnosis.correct, diagnosis.wrong) == ((), False, ("bias",))
    assert "grad_bias has the right numbers in a wrong shape" in str(diagnosis)


def test_an_error_in_one_number_is_seen_and_shown() -> None:
    def spoil(grads, grad_out):
        grads[0][-1, -1] += 0.5
        return grads

    diagnosis = judge_spoilt("sigmoid", spoil)
    assert (diagnosis.names, diagnosis.correct) == ((), False)
    worst = diagnosis.worst
    assert worst is not None
    assert worst.name == "grad_x"
    assert worst.found - worst.expected == pytest.approx(0.5)


def test_a_number_that_is_none_is_the_furthest_off() -> None:
    def spoil(grads, grad_out):
        grads[0][0, 0] = np.nan if grad_out.shape == (2, 5) else 1e6
        return grads

    diagnosis = judge_spoilt("softmax", spoil)
    assert "grad_x has numbers that are not finite" in str(diagnosis)
    assert diagnosis.worst is not None
    assert np.isnan(diagnosis.worst.found)


def test_a_wrong_number_is_shown_rather_than_a_wrong_shape() -> None:
    diagnosis = judge_spoilt("linear", lambda grads, g: [grads[0], 2.5 * grads[1], grads[2][None]])
    assert diagnosis.worst is not None
    assert diagnosis.worst.name == "grad_weight"


# --- backward that does not do what a backward does ---


def relu(x):
    return np.maximum(x, 0)


def relu_backward(grad_out, x):
    return grad_out * (x > 0)


def test_a_backward_that_raises_is_reported_with_its_words() -> None:
    def backward(grad_out, x):
        raise RuntimeError("the <script>alert(1)</script> of it")

    diagnosis = diagnose(relu, backward, "relu")
    assert (diagnosis.names, diagnosis.correct, diagnosis.forward_correct) == ((), False, True)
    assert "RuntimeError: the <script>alert(1)</script> of it" in str(diagnosis)
    page = diagnosis._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_a_backward_that_raises_on_some_problems_is_not_right() -> None:
    forward, right = PLANT["conv2d", "vectorised"].make("")

    def backward(grad_out, cache):
        if cache[2] != 1:
            raise NotImplementedError("stride")
        return right(grad_out, cache)

    diagnosis = diagnose(forward, backward, "conv2d")
    assert (diagnosis.names, diagnosis.correct, diagnosis.wrong) == ((), False, ())
    assert "NotImplementedError: stride" in str(diagnosis)


def test_an_error_that_a_named_mistake_leads_to_is_told_from_another() -> None:
    forward, wrong = PLANT["linear", "loops"].make("bias_summed_over_features")

    def backward(grad_out, x, weight, bias):
        if x.shape == (3, 4):
            raise RuntimeError("another")
        return wrong(grad_out, x, weight, bias)

    because, beside = diagnose(forward, wrong, "linear"), diagnose(forward, backward, "linear")
    assert because.names == beside.names == ("bias_summed_over_features",)
    assert "The mistake named here leads to that." in str(because)
    assert "The mistake named here leads to that." not in str(beside)
    assert "RuntimeError: another" in str(beside)


def test_a_program_that_wants_to_end_is_reported_like_any_error() -> None:
    assert "SystemExit: 3" in str(diagnose(relu, lambda grad_out, x: sys.exit(3), "relu"))
    assert "SystemExit: 3" in str(diagnose(lambda x: sys.exit(3), relu_backward, "relu"))


def test_an_unfinished_exercise_is_reported_like_any_error() -> None:
    def backward(grad_out, x):
        raise NotImplementedError

    assert "NotImplementedError" in str(diagnose(relu, backward, "relu"))


@pytest.mark.parametrize(
    "returned",
    [None, (), (None, None, None), np.zeros(3), 0.0, "grads", {}, {"y": np.zeros(3)}, [1, 2]],
    ids=repr,
)
def test_what_are_no_gradients_is_wrong_and_not_named(returned: Any) -> None:
    diagnosis = judge_spoilt("linear", lambda grads, grad_out: returned)
    assert (diagnosis.names, diagnosis.correct, diagnosis.forward_correct) == ((), False, True)


def test_a_wrong_number_of_gradients_is_said() -> None:
    text = str(judge_spoilt("linear", lambda grads, grad_out: grads[:2]))
    assert "2 gradients" in text
    assert "x, weight, bias" in text


def test_a_forgotten_return_is_said() -> None:
    diagnosis = diagnose(relu, lambda grad_out, x: None, "relu")
    assert (diagnosis.correct, diagnosis.names) == (False, ())
    assert "None" in str(diagnosis)


class Unreadable:
    def __array__(self, *args: Any, **how: Any) -> Any:
        raise RuntimeError("ask me first")  # as PyTorch's tensors do that need a gradient


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda g: g + 0j, "complex128"),
        (lambda g: g.astype(object), "object"),
        (lambda g: "grads", "str"),
        (lambda g: Unreadable(), "Unreadable"),
    ],
)
def test_what_is_no_array_of_real_numbers_is_said_with_its_kind(
    change: Callable[[Any], Any], kind: str
) -> None:
    diagnosis = judge_spoilt("sigmoid", _each(change))
    assert (diagnosis.names, diagnosis.correct) == ((), False)
    assert f"grad_x is no array of real numbers, but {kind}" in str(diagnosis)


def test_a_number_too_large_for_float64_is_shown_without_a_warning() -> None:
    huge = np.finfo(np.longdouble).max
    diagnosis = judge_spoilt("sigmoid", _each(lambda g: np.full(g.shape, huge)))
    assert (diagnosis.names, diagnosis.correct) == ((), False)


def test_whole_numbers_may_have_a_gradient_of_none_or_nothing() -> None:
    for spoil in (lambda grads, g: [grads[0], None], lambda grads, g: grads[0]):
        assert judge_spoilt("softmax_cross_entropy", spoil).correct


@each_op
def test_float32_is_compared_loosely_and_said(op: str) -> None:
    to_float32 = _each(lambda g: g.astype(np.float32))
    diagnosis = judge_spoilt(op, to_float32)
    assert diagnosis.correct, str(diagnosis)
    assert "float32" in str(diagnosis)
    name = BANK[op].mistakes[0].name
    assert judge_spoilt(op, to_float32, name).names == (name,)


def test_half_precision_is_compared_more_loosely_still() -> None:
    for factor, right in ((1.0, True), (1.05, False)):
        spoil = _each(lambda g, factor=factor: (factor * g).astype(np.float16))
        assert judge_spoilt("sigmoid", spoil).correct is right


@each_op
def test_all_of_it_in_float32_is_right_too(op: str) -> None:
    forward, backward = PLANT[op, "vectorised"].make("")

    def single(x):
        return x.astype(np.float32) if getattr(x, "dtype", None) == np.float64 else x

    def in_single(*inputs, **settings):
        return forward(*map(single, inputs), **settings)

    diagnosis = diagnose(in_single, lambda g, cache: backward(single(g), cache), op)
    assert diagnosis.correct, str(diagnosis)


def test_a_change_in_place_is_said_and_does_not_reach_the_next_problem() -> None:
    def backward(grad_out, x):
        grad_out *= x > 0
        x[...] = 7.0
        return grad_out

    diagnosis = diagnose(relu, backward, "relu")
    assert diagnosis.correct
    assert "backward changes grad_out in place" in str(diagnosis)
    assert "backward changes x in place" in str(diagnosis)


def test_a_forward_that_works_in_place_is_said() -> None:
    def forward(x):
        x[x < 0] = 0
        return x

    diagnosis = diagnose(forward, relu_backward, "relu")
    assert "forward changes x in place" in str(diagnosis)
    assert diagnosis.forward_correct


def test_backward_gets_the_inputs_as_they_were_before_a_forward_in_place() -> None:
    diagnosis = diagnose(
        lambda x: np.tanh(x, out=x), lambda grad_out, x: grad_out / np.cosh(x) ** 2, "tanh"
    )
    assert diagnosis.correct


def test_a_division_by_zero_that_is_put_right_is_no_error() -> None:
    diagnosis = diagnose(relu, lambda grad_out, x: grad_out * np.nan_to_num(relu(x) / x), "relu")
    assert diagnosis.correct


def test_tensors_are_taken_for_their_arrays() -> None:
    def forward(x):
        return mr.tensor(relu(x), requires_grad=True)

    def backward(grad_out, x):
        return mr.tensor(relu_backward(grad_out, x), requires_grad=True)

    assert diagnose(forward, backward, "relu").correct


def test_a_gradient_that_is_changed_after_it_was_returned_stays_as_it_was() -> None:
    buffer: dict[tuple[int, ...], Any] = {}

    def backward(grad_out, x):
        grad = buffer.setdefault(x.shape, np.zeros(x.shape))
        grad[...] = grad_out * (x > 0)
        return grad

    assert diagnose(relu, backward, "relu").correct


def test_lists_of_numbers_are_gradients_too() -> None:
    assert judge_spoilt("linear", lambda grads, g: [grad.tolist() for grad in grads]).correct


@pytest.mark.parametrize("op", ["relu", "mean", "softmax_cross_entropy"])
def test_the_only_gradient_may_be_a_bare_list_of_lists(op: str) -> None:
    assert judge_spoilt(op, lambda grads, g: grads[0].tolist()).correct


# --- forward ---


def test_output_and_cache_may_be_any_two_things_together() -> None:
    class Kept(NamedTuple):
        out: Any
        cache: Any

    for together in (Kept, lambda out, cache: [out, cache]):
        diagnosis = diagnose(
            lambda x, together=together: together(relu(x), x), relu_backward, "relu"
        )
        assert diagnosis.correct, str(diagnosis)


def test_two_numbers_may_be_the_output_itself() -> None:
    def backward(grad_out, x):
        return np.tile(grad_out / len(x), (len(x), 1))

    assert diagnose(lambda x: tuple(x.mean(axis=0)), backward, "mean").correct


def test_three_things_in_place_of_the_output_are_said() -> None:
    text = str(diagnose(lambda x: (relu(x), x, x.shape), relu_backward, "relu"))
    assert "output: it is no array of real numbers, but tuple" in text


def test_a_wrong_forward_is_said_before_backward_is_looked_at() -> None:
    for forward in (lambda x: 1.01 * relu(x), lambda x: None, lambda x: relu(x)[..., None]):
        diagnosis = diagnose(forward, lambda grad_out, x: grad_out * (x >= 0), "relu")
        assert (diagnosis.forward_correct, diagnosis.correct) == (False, False)
        assert (diagnosis.names, diagnosis.wrong) == ((), ())
        assert "forward is wrong on" in str(diagnosis)


def test_a_forward_that_raises_is_reported_with_its_words() -> None:
    def forward(x):
        raise ZeroDivisionError("one over <nothing>")

    diagnosis = diagnose(forward, lambda grad_out, x: grad_out, "relu")
    assert (diagnosis.forward_correct, diagnosis.names) == (False, ())
    assert "ZeroDivisionError: one over <nothing>" in str(diagnosis)
    assert "<nothing>" not in diagnosis._repr_html_()


def test_what_was_not_saved_is_said() -> None:
    class Forgetful(Function):
        @staticmethod
        def forward(ctx, x):
            return np.tanh(x)

        @staticmethod
        def backward(ctx, grad_out):
            return grad_out * (1 - ctx.saved("out") ** 2)

    text = str(diagnose(Forgetful.forward, Forgetful.backward, "tanh"))
    assert "'out'" in text


def test_ctx_says_what_a_node_of_the_graph_says() -> None:
    said = {}

    def forward(ctx, logits, targets):
        said["forward"] = ctx.needs_input_grad
        return 0.0

    def relu_backward(ctx, grad_out):
        said["backward"] = ctx.create_graph, ctx.needs_input_grad
        return grad_out * ctx.mask

    def relu_forward(ctx, x):
        ctx.mask = x > 0
        return x * ctx.mask

    diagnose(forward, lambda ctx, grad_out: None, "softmax_cross_entropy")
    assert diagnose(relu_forward, relu_backward, "relu").correct
    assert said == {"forward": (True, False), "backward": (False, (True,))}


def test_ctx_keeps_what_it_is_given_in_pytorch_s_way_too() -> None:
    def forward(ctx, x):
        out = np.tanh(x)
        ctx.save_for_backward(x, out)
        return out

    def backward(ctx, grad_out):
        _, out = ctx.saved_tensors
        return grad_out * (1 - out**2)

    assert diagnose(forward, backward, "tanh").correct


def test_objects_that_can_be_called_will_do() -> None:
    @dataclass
    class Relu:  # equality by value, so no hash
        slope: float

        def __call__(self, x):
            return np.where(x > 0, x, self.slope * x)

        def backward(self, grad_out, x):
            return np.where(x > 0, 1.0, self.slope) * grad_out

    assert diagnose(Relu(0.0), Relu(0.0).backward, "relu").correct
    assert diagnose(np.tanh, lambda grad_out, x: grad_out / np.cosh(x) ** 2, "tanh").correct


# --- settings ---


def test_problems_that_need_more_than_forward_takes_are_left_out_and_said() -> None:
    forward, backward = PLANT["conv2d", "vectorised"].make("")
    diagnosis = diagnose(lambda x, weight, bias: forward(x, weight, bias), backward, "conv2d")
    assert diagnosis.correct
    assert diagnosis.left_out > 0
    assert diagnosis.posed > 0
    for setting in ("left out", "stride", "padding", "dilation"):
        assert setting in str(diagnosis)


def test_a_setting_that_cannot_go_by_keyword_is_one_that_forward_does_not_take() -> None:
    def forward(x, negative_slope=0.01, /):
        return np.where(x > 0, x, negative_slope * x)

    def backward(grad_out, x):
        return np.where(x > 0, grad_out, 0.01 * grad_out)

    diagnosis = diagnose(forward, backward, "leaky_relu")
    assert (diagnosis.correct, diagnosis.left_out) == (True, 1)


def test_a_mistake_that_does_not_need_the_settings_is_named_without_them() -> None:
    forward, backward = PLANT["conv2d", "vectorised"].make("kernel_wrong_way_round")
    diagnosis = diagnose(lambda x, weight, bias: forward(x, weight, bias), backward, "conv2d")
    assert diagnosis.names == ("kernel_wrong_way_round",)


def test_a_forward_with_any_keywords_is_posed_all_problems() -> None:
    forward, backward = PLANT["conv2d", "vectorised"].make("")
    diagnosis = diagnose(lambda *inputs, **how: forward(*inputs, **how), backward, "conv2d")
    assert (diagnosis.correct, diagnosis.left_out) == (True, 0)


def test_nothing_left_to_pose_is_an_error() -> None:
    with pytest.raises(UsageError, match="kernel_size"):
        diagnose(lambda x: x, lambda grad_out, x: grad_out, "max_pool2d")


# --- how it is called, and what comes back ---


def test_an_unknown_operation_is_an_error_that_knows_the_nearest() -> None:
    with pytest.raises(UsageError, match="conv2d'") as error:
        diagnose(relu, relu, "conv2")
    assert all(op in str(error.value) for op in BANK)


@pytest.mark.parametrize("op", [None, 3, ["relu"], ""])
def test_an_operation_that_is_no_name_is_an_error(op: Any) -> None:
    with pytest.raises(UsageError):
        diagnose(relu, relu, op)


def test_what_cannot_be_called_is_an_error() -> None:
    with pytest.raises(UsageError, match="fn_backward"):
        diagnose(relu, np.zeros(3), "relu")
    with pytest.raises(UsageError, match="linear"):
        diagnose(lambda x, weight: x @ weight.T, lambda grad_out, x, weight: x, "linear")


def test_title_and_hint_are_in_the_text_and_on_the_page() -> None:
    diagnosis = judge(PLANT["relu", "loops"], "one_at_zero")
    mistake = BANK["relu"].mistake("one_at_zero")
    assert mistake.title in str(diagnosis)
    assert mistake.name in str(diagnosis)
    lines = [line.strip() for line in str(diagnosis).splitlines()]
    assert " ".join(mistake.hint.split()) in " ".join(lines)
    assert "one_at_zero" in diagnosis._repr_html_()


def test_the_same_seed_gives_the_same_verdict() -> None:
    for slip in ("kernel_wrong_way_round", ""):
        once, again = (judge(PLANT["conv2d", "vectorised"], slip, seed=4) for _ in range(2))
        assert (once, str(once)) == (again, str(again))


def test_numpy_s_own_random_numbers_are_left_alone() -> None:
    state = np.random.get_state(legacy=False)  # noqa: NPY002
    judge(PLANT["softmax", "vectorised"], "sum_missing")
    np.testing.assert_equal(np.random.get_state(legacy=False), state)  # noqa: NPY002


def test_gradients_in_each_other_s_place_are_said_to_be() -> None:
    def backward(grad_out: Any, x: Any, weight: Any, bias: Any) -> Any:
        return grad_out @ weight, grad_out.sum(axis=0), grad_out.T @ x

    found = diagnose(lambda x, weight, bias: x @ weight.T + bias, backward, op="linear")
    assert not found
    assert found.names == ()
    assert "grad_weight and grad_bias are right, but in each other's place." in str(found)
    assert "the bank does not know" not in str(found)


def test_an_error_comes_with_the_line_of_the_learner_s_code() -> None:
    def backward(grad_out: Any, x: Any) -> Any:
        return grad_out @ np.ones((1, 2, 3))  # this line

    assert "return grad_out @ np.ones((1, 2, 3))  # this line" in str(
        diagnose(lambda x: np.maximum(x, 0), backward, op="relu")
    )
