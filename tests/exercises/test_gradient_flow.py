"""What the checks of notebook 08 answer: to stubs, to right attempts, and to usual mistakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import minires as mr
from minires.exercises import gradient_flow as check


def unfilled(*args: Any) -> Any: ...


@pytest.mark.parametrize("name", ["fork", "share_and_cosine", "left_without_skips"])
@pytest.mark.parametrize("attempt", [unfilled, ...])
def test_the_stub_is_not_yet_and_gets_a_hint(name: str, attempt: Any) -> None:
    verdict = getattr(check, name)(attempt)
    assert verdict.status == "not yet"
    assert verdict.hint


def test_no_answer_is_not_yet() -> None:
    assert check.reading(...).status == "not yet"


@pytest.mark.parametrize("name", ["fork", "share_and_cosine"])
def test_half_of_a_pair_is_not_yet(name: str) -> None:
    assert getattr(check, name)(lambda *args: (1.0, None)).status == "not yet"
    verdict = getattr(check, name)(lambda *args: 1.0)
    assert not verdict.passed
    assert "Return a pair" in verdict.message


# --- skip and branch at the fork ---


def split(u: Any, shortcut: Any, branch: Any, grad_out: Any) -> Any:
    (skip,) = mr.grad(shortcut(u) + branch(u.detach()), u, grad_out)
    (through,) = mr.grad(shortcut(u.detach()) + branch(u), u, grad_out)
    return skip, through


def split_with_backward(u: Any, shortcut: Any, branch: Any, grad_out: Any) -> Any:
    found = []
    for cut_branch in (True, False):
        u.grad = None
        one, other = (u, u.detach()) if cut_branch else (u.detach(), u)
        (shortcut(one) + branch(other)).backward(grad_out)
        found.append(u.grad.data.astype(np.float32).tolist())
    return found


def test_the_fork_may_be_split_with_grad_or_backward_or_without_the_other_term() -> None:
    assert check.fork(split).passed
    assert check.fork(split_with_backward).passed
    assert check.fork(lambda u, s, b, d: [mr.grad(s(u), u, d), mr.grad(b(u), u, d)]).passed


def accumulated(u: Any, shortcut: Any, branch: Any, grad_out: Any) -> Any:
    (shortcut(u) + branch(u.detach())).backward(grad_out)
    first = u.grad.data.copy()
    (shortcut(u.detach()) + branch(u)).backward(grad_out)
    return first, u.grad


def whole(u: Any, shortcut: Any, branch: Any, grad_out: Any) -> Any:
    (found,) = mr.grad(shortcut(u) + branch(u), u, grad_out)
    return found, found


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        (lambda u, s, b, d: (d, d), "gradients at the sum"),
        (whole, "nothing is cut"),
        (lambda *args: split(*args)[::-1], "exchanged"),
        (accumulated, "added to what u.grad held"),
        (lambda *args: (whole(*args)[0], split(*args)[1]), "Cut the branch there"),
        (lambda u, s, b, d: (s(u), b(u)), "going forward"),
        (lambda u, s, b, d: (0 * u, u), "should be"),
        (lambda u, s, b, d: (u.nothing, u), "AttributeError"),
    ],
)
def test_a_wrong_fork_is_told_what_is_wrong(attempt: Any, text: str) -> None:
    verdict = check.fork(attempt)
    assert verdict.status == "wrong"
    assert text in verdict.message


# --- share and cosine ---


def with_loops(skip: np.ndarray, branch: np.ndarray) -> list[float]:
    pairs = list(zip(skip.ravel().tolist(), branch.ravel().tolist(), strict=True))
    s = sum(one * one for one, _ in pairs) ** 0.5
    b = sum(other * other for _, other in pairs) ** 0.5
    return [s / (s + b), sum(one * other for one, other in pairs) / s / b]


def sizes(skip: np.ndarray, branch: np.ndarray) -> tuple[float, float, float]:
    s, b = (float(np.linalg.norm(one)) for one in (skip, branch))
    return s, b, float((skip * branch).sum())


def test_share_and_cosine_may_be_loops_arrays_or_float32() -> None:
    assert check.share_and_cosine(with_loops).passed

    def short(skip: np.ndarray, branch: np.ndarray) -> np.ndarray:
        s, b, dot = sizes(skip.astype(np.float32), branch.astype(np.float32))
        return np.array([s / (s + b), dot / (s * b)], np.float32)

    assert check.share_and_cosine(short).passed


def other_share(make: Any) -> Any:
    return lambda skip, branch: (make(skip, branch), with_loops(skip, branch)[1])


def other_cosine(make: Any) -> Any:
    return lambda skip, branch: (with_loops(skip, branch)[0], make(*sizes(skip, branch)))


def mean_of_images(skip: np.ndarray, branch: np.ndarray) -> tuple[float, float]:
    rows = zip(skip, branch, strict=True)
    each = [dot / (s * b) for s, b, dot in (sizes(*pair) for pair in rows)]
    return with_loops(skip, branch)[0], float(np.mean(each))


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        (other_share(lambda s, b: (s**2).sum() / ((s**2).sum() + (b**2).sum())), "squared norms"),
        (other_share(lambda s, b: np.linalg.norm(s) / np.linalg.norm(s + b)), "Norms do not add"),
        (other_share(lambda s, b: s.sum() / (s + b).sum()), "cancel; take norms"),
        (other_cosine(lambda s, b, dot: dot), "divide it by both norms"),
        (other_cosine(lambda s, b, dot: abs(dot) / (s * b)), "The sign is lost"),
        (mean_of_images, "the whole batch as one vector"),
    ],
)
def test_a_wrong_share_or_cosine_is_told_what_is_wrong(attempt: Any, text: str) -> None:
    verdict = check.share_and_cosine(attempt)
    assert verdict.status == "wrong"
    assert text in " ".join(verdict.message.split())


# --- what a lesion leaves ---


def of_the_cut(w: list[float], cut: list[int]) -> float:
    ratio = 1.0
    for place in cut:
        ratio *= w[place] / (1 + w[place])
    return ratio


def of_all(w: list[float], cut: list[int]) -> Any:
    gains = mr.tensor(w)
    mask = mr.tensor([float(i not in cut) for i in range(len(w))])
    return np.prod((gains + mask).data) / np.prod((gains + 1.0).data)


def test_the_ratio_may_be_over_the_cut_blocks_or_over_all() -> None:
    assert check.left_without_skips(of_the_cut).passed
    assert check.left_without_skips(of_all).passed


@pytest.mark.parametrize(
    ("attempt", "text"),
    [
        (
            lambda w, cut: np.prod([v if i in cut else 1 + v for i, v in enumerate(w)]),
            "divide it by the ordinary one",
        ),
        (lambda w, cut: np.prod([w[i] for i in cut]), "over the blocks that are cut"),
        (lambda w, cut: np.prod([v / (1 + v) for v in w]), "Here all skips are cut"),
        (lambda w, cut: np.prod([1 / (1 + w[i]) for i in cut]), "the branches that are cut"),
        (lambda w, cut: 0.0 if cut else 1.0, "still comes through the branch"),
        (lambda w, cut: 1 / of_the_cut(w, cut), "upside down"),
        (lambda w, cut: "most of it", "should hold numbers"),
    ],
)
def test_a_wrong_ratio_is_told_what_is_wrong(attempt: Any, text: str) -> None:
    verdict = check.left_without_skips(attempt)
    assert verdict.status == "wrong"
    assert text in verdict.message


# --- the dial ---


def test_the_right_reading_passes() -> None:
    assert check.reading("c").passed
    assert check.reading(" C ").passed


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("a", "first |g|"),
        ("b", "they guess"),
        ("d", "changes the function as well"),
        ("e", "none of them"),
        (["c"], ""),
    ],
)
def test_a_wrong_reading_is_told_what_it_overlooks(answer: Any, text: str) -> None:
    verdict = check.reading(answer)
    assert verdict.status == "wrong"
    assert text in verdict.message


def test_the_table_of_the_dial_is_what_the_answers_say() -> None:
    mr.manual_seed(0)
    model = mr.models.cifar_resnet(20, width=4, in_channels=1)
    dial = mr.flow.dial(model, mr.data.load_digits(), alphas=(0, 1))
    none, whole = dial.before
    assert none.first_norm > whole.first_norm  # a
    assert none.loss < whole.loss  # b
    assert none.error > 85
    assert whole.error > 85
