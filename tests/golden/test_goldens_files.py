"""The stored goldens themselves: readable, complete, finite, and made by known versions."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from tests.golden.loading import (
    FOLDER,
    OP_FILES,
    Case,
    load_cases,
    load_manifest,
    load_networks,
    load_optimizers,
    load_schedulers,
)

ALL_FILES = (*OP_FILES, "networks", "optim")
CASES = [case for file in OP_FILES for case in load_cases(file)]
AT_LEAST = {
    **dict.fromkeys(("add", "sub", "mul", "div", "maximum", "minimum", "pow"), 9),
    **dict.fromkeys(("neg", "abs", "exp", "log", "sqrt", "tanh", "sigmoid", "where", "clamp"), 5),
    **dict.fromkeys(("Tensor.sum", "Tensor.mean", "Tensor.var", "Tensor.logsumexp"), 12),
    **dict.fromkeys(("Tensor.max", "Tensor.min"), 5),
    **dict.fromkeys(("Tensor.amax", "Tensor.amin"), 12),
    **dict.fromkeys(("Tensor.reshape", "Tensor.flatten", "Tensor.permute", "Tensor.transpose"), 4),
    **dict.fromkeys(("Tensor.squeeze", "Tensor.unsqueeze", "Tensor.expand", "cat", "stack"), 5),
    "Tensor.__getitem__": 35,
    "F.pad": 5,
    "matmul": 12,
    "F.linear": 8,
    "F.conv2d": 50,
    "F.conv_transpose2d": 15,
    "F.max_pool2d": 25,
    "F.avg_pool2d": 25,
    "F.adaptive_avg_pool2d": 15,
    "F.batch_norm": 40,
    "F.relu": 4,
    "F.softmax": 6,
    "F.log_softmax": 6,
    "F.cross_entropy": 60,
    "F.nll_loss": 15,
    "F.mse_loss": 8,
    **dict.fromkeys(("F.leaky_relu", "F.gelu", "F.silu", "F.softplus"), 5),
    "F.dropout": 3,
    "Tensor.std": 8,
    **dict.fromkeys(("Tensor.argmax", "Tensor.argmin"), 4),
    "Tensor.broadcast_to": 4,
    **dict.fromkeys((f"Tensor.__r{name}__" for name in ("add", "sub", "mul", "matmul")), 1),
    **dict.fromkeys((f"Tensor.__r{name}__" for name in ("truediv", "pow")), 1),
    **dict.fromkeys((f"Tensor.{name}" for name in ("view", "where", "clone", "to", "cpu")), 1),
}
NO_GRADIENT = ("Tensor.argmax", "Tensor.argmin")


def leaves_of(case: Case) -> dict[str, np.ndarray]:
    """The input arrays of a case, by path."""
    leaves: dict[str, np.ndarray] = {}

    def keep(path: str, array: np.ndarray) -> np.ndarray:
        leaves[path] = array
        return array

    case.call_with(keep)
    return leaves


def arrays_in(value: Any) -> list[np.ndarray]:
    """All arrays among the fields of a golden case."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, dict):
        return [array for item in value.values() for array in arrays_in(item)]
    return []


@pytest.mark.parametrize("file", ALL_FILES)
def test_file_is_read_without_pickle_and_records_its_versions(file: str) -> None:
    manifest = load_manifest(file)  # allow_pickle=False
    assert manifest["theme"] == file
    assert set(manifest["versions"]) == {"torch", "numpy"}
    assert manifest["versions"]["torch"].startswith("2.13.0")
    assert manifest["entries"]


def test_every_file_is_listed_and_together_they_are_small() -> None:
    paths = list(FOLDER.glob("*.npz"))
    assert {path.stem for path in paths} == set(ALL_FILES)
    assert sum(path.stat().st_size for path in paths) < 2_000_000


def test_every_operation_has_its_cases_and_no_two_share_a_name() -> None:
    counts = Counter(case.op for case in CASES)
    assert set(counts) == set(AT_LEAST)
    assert not {op: n for op, n in counts.items() if n < AT_LEAST[op]}
    assert len({case.name for case in CASES}) == len(CASES) >= 620
    assert sum(bool(case.second) for case in CASES) >= 60


@pytest.mark.parametrize("file", OP_FILES)
def test_stored_arrays_fit_together_and_are_finite(file: str) -> None:
    for case in load_cases(file):
        leaves = leaves_of(case)
        assert case.outputs, case.name
        assert bool(case.grads) == (case.op not in NO_GRADIENT), case.name
        assert set(case.second) == (set(case.grads) if case.directions else set()), case.name
        assert set(case.directions) <= set(case.grads), case.name
        assert set(case.cotangents) <= set(range(len(case.outputs))), case.name
        for i, cotangent in case.cotangents.items():
            assert cotangent.shape == case.outputs[i].shape, case.name
        for stored in (case.grads, case.changed, case.directions, case.second):
            for path, array in stored.items():
                assert array.shape == leaves[path].shape, (case.name, path)
                assert array.dtype == (np.float32 if case.single else np.float64), case.name
        for array in (*leaves.values(), *case.outputs, *arrays_in(case.cotangents)):
            assert np.isfinite(array).all(), case.name
        for array in (*arrays_in(case.grads), *arrays_in(case.changed), *arrays_in(case.second)):
            assert np.isfinite(array).all(), case.name


def test_a_case_hands_out_fresh_copies() -> None:
    case = next(case for case in CASES if case.op == "add")
    case.args[0][...] = 7
    assert not (case.args[0] == 7).all()


def test_arguments_come_back_as_the_call_had_them() -> None:
    cases = {case.name: case for case in CASES}
    x, weight, bias = cases["F.conv2d 2x5, all asymmetric"].args
    assert (x.shape, weight.shape, bias.shape) == ((2, 2, 7, 11), (3, 2, 2, 5), (3,))
    assert cases["F.conv2d 2x5, all asymmetric"].kwargs == {
        "stride": (2, 3),
        "padding": (1, 2),
        "dilation": (3, 1),
    }
    assert cases["F.conv2d 3x3"].args[2] is None
    _, index = cases["Tensor.__getitem__ ellipsis between"].args
    assert index == (1, Ellipsis, slice(0, 2))
    parts, _ = cases["cat dim=-2, positional"].args
    assert [part.shape for part in parts] == [(2, 1, 3), (2, 2, 3), (2, 3, 3)]
    assert set(cases["cat dim=-2, positional"].grads) == {"0.0", "0.1", "0.2"}
    norm = cases["F.batch_norm 4-d training"]
    assert set(norm.grads) == {"0", "weight", "bias"}
    assert set(norm.changed) == {"1", "2"}


@pytest.mark.parametrize("op", ["add", "sub", "mul", "div", "maximum", "minimum", "pow", "matmul"])
def test_outputs_agree_with_numpy_where_numpy_has_the_operation(op: str) -> None:
    name = {"sub": "subtract", "mul": "multiply", "div": "divide", "pow": "power"}.get(op, op)
    for case in CASES:
        if case.op == op:
            expected = getattr(np, name)(*case.args)
            rtol = 1e-6 if case.single else 1e-13
            np.testing.assert_allclose(case.outputs[0], expected, rtol=rtol, err_msg=case.name)


def test_networks_are_complete_and_finite() -> None:
    networks = load_networks()
    assert set(networks) == {
        "cifar_resnet8_A",
        "cifar_resnet8_B_odd",
        "cifar_resnet11_bottleneck_B",
        "cifar_preact8_B",
        "cifar_preact14_B",
    }
    for network in networks.values():
        assert set(network.state) == set(network.grads) | set(network.buffers), network.name
        assert len(network.losses) == 4
        assert network.loss == network.losses[0]
        assert network.losses[-1] < network.losses[0], network.name
        assert network.input_grad.shape == network.input.shape
        assert network.logits.shape == network.eval_logits.shape == (len(network.labels), 10)
        for array in (array for value in vars(network).values() for array in arrays_in(value)):
            assert np.isfinite(array).all(), network.name
        for name, gradient in network.grads.items():
            assert gradient.shape == network.state[name].shape, (network.name, name)
            assert gradient.any(), (network.name, name)


def test_stored_loss_is_the_cross_entropy_of_the_stored_logits() -> None:
    for network in load_networks().values():
        logs = network.logits - np.log(np.exp(network.logits).sum(axis=1, keepdims=True))
        loss = -logs[np.arange(len(network.labels)), network.labels].mean()
        np.testing.assert_allclose(network.loss, loss, rtol=1e-12)


def test_optimisers_and_schedules_are_there_and_finite() -> None:
    optimizers, schedulers = load_optimizers(), load_schedulers()
    assert len(optimizers) >= 8
    for optimizer in optimizers:
        assert optimizer.values.shape == optimizer.grads.shape == (5, *optimizer.start.shape)
        assert np.isfinite(optimizer.values).all()
    assert {optimizer.op for optimizer in optimizers} == {"SGD", "Adam", "AdamW"}
    settings = {key for o in optimizers if o.op == "SGD" for key in o.kwargs}
    assert settings == {"lr", "momentum", "dampening", "weight_decay", "nesterov"}
    assert {s.op for s in schedulers} == {
        "MultiStepLR",
        "StepLR",
        "CosineAnnealingLR",
        "LinearLR",
    }
    for schedule in schedulers:
        assert np.isfinite(schedule.lrs).all()
        assert len(schedule.lrs) >= 4
    step = next(s for s in schedulers if s.name == "MultiStepLR halves and quarters")
    np.testing.assert_allclose(step.lrs, [0.1] * 6 + [0.01] * 3 + [0.001] * 4, rtol=1e-12)
