"""What a node says of itself before any backward pass, and what a watch leaves alone outside."""

from __future__ import annotations

import numpy as np
import pytest

import minires as mr
import minires.functional as F


def test_a_node_that_no_backward_has_seen_gives_arrays_and_its_cache() -> None:
    x = mr.tensor([1.0, 2.0], requires_grad=True)
    node = x.logsumexp(0).node
    assert node.create_graph is False
    assert node.saved("x") is x.data
    np.testing.assert_allclose(node.cache("share"), np.exp(x.data - 2.0) / (1.0 + np.exp(-1.0)))


def test_a_gradient_recorded_under_the_watch_is_not_checked_when_backward_runs_outside() -> None:
    x = mr.tensor([0.0, 4.0], requires_grad=True)
    with mr.detect_anomaly():
        out = x.sqrt().sum()
    with np.errstate(divide="ignore"):
        out.backward()
    assert x.grad.tolist() == [np.inf, 0.25]


def test_what_numpy_would_warn_of_is_not_hidden_outside_the_watch() -> None:
    x = mr.tensor([0.0], requires_grad=True)
    with mr.detect_anomaly():
        recorded = x.sqrt().sum()
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        recorded.backward()
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        F.sqrt(x).sum().backward()
