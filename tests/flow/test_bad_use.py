"""Bad use of any instrument ends in an error that names the instrument and says what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn
from minires.errors import ContractError, MiniresError
from minires.flow import ledger, path_spectrum, sample_paths
from minires.flow.comparison import compare
from minires.flow.contracts import check_model
from minires.flow.dial import dial
from minires.flow.hessian import hessian_eigenvalue
from minires.flow.jacobian import jacobian_lens
from minires.flow.landscape import landscape
from minires.flow.lesions import backward_lesion
from minires.flow.removals import forward_lesion
from minires.flow.responses import signal
from minires.flow.shattering import shattering


class Instrument(NamedTuple):
    """How one is run on a model and a batch, and what it looks at."""

    run: Callable[..., Any]
    blocks: bool = True  # needs blocks of the contract
    loss: bool = True  # takes a loss
    target: bool = True  # takes labels apart from the batch


INSTRUMENTS: dict[str, Instrument] = {
    "ledger": Instrument(ledger),
    "path_spectrum": Instrument(path_spectrum),
    "sample_paths": Instrument(sample_paths),
    "backward_lesion": Instrument(backward_lesion),
    "forward_lesion": Instrument(lambda m, x, y, **o: forward_lesion(m, (x, y), **o), target=False),
    "dial": Instrument(lambda m, x, y, **o: dial(m, (x, y), (0.0, 1.0), **o), target=False),
    "jacobian_lens": Instrument(lambda m, x, y: jacobian_lens(m, x), loss=False, target=False),
    "shattering": Instrument(
        lambda m, x, y: shattering(m, x, points=8),
        blocks=False,
        loss=False,
        target=False,
    ),
    "signal": Instrument(signal, blocks=False),
    "landscape": Instrument(
        lambda m, x, y=None, **o: landscape(m, x, y, points=3, **o), blocks=False
    ),
    "hessian_eigenvalue": Instrument(hessian_eigenvalue, blocks=False),
    "check_model": Instrument(check_model, blocks=False),
    "compare": Instrument(lambda m, x, y=None, **o: compare(m, m, x, y, **o)),
}
# compare hands the model on to the instrument, which speaks for itself.
SPEAKS = {name: "ledger" if name == "compare" else name for name in INSTRUMENTS}


def build(**options: Any) -> Any:
    mr.manual_seed(0)
    return mr.models.cifar_resnet(8, width=2, in_channels=1, num_classes=3, **options)


def batch() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    return draw.standard_normal((4, 1, 8, 8)).astype(np.float32), np.array([0, 1, 2, 0])


def refused(name: str, model: Any, x: Any, y: Any, **options: Any) -> str:
    """What the instrument says, note and all; any other exception than our own fails the test."""
    with pytest.raises((MiniresError, NotImplementedError)) as caught:
        INSTRUMENTS[name].run(model, x, y, **options)
    return "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])


def test_each_instrument_of_the_table_runs_where_nothing_is_wrong() -> None:
    for name, instrument in INSTRUMENTS.items():
        model = build().eval() if name in ("jacobian_lens", "forward_lesion") else build()
        assert instrument.run(model, *batch()).caption(), name


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_what_is_no_model_is_told(name: str) -> None:
    text = refused(name, lambda x: x, *batch())
    assert text.startswith(f"{name}: a function is no model")


@pytest.mark.parametrize("name", [n for n, i in INSTRUMENTS.items() if i.blocks])
def test_a_model_without_blocks_of_the_contract_is_told_what_is_missing(name: str) -> None:
    mr.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    text = refused(name, model, *batch())
    assert text.startswith(f"{SPEAKS[name]}: no residual block ran in Sequential")
    assert "minires.nn.ResidualBlock" in text


@pytest.mark.parametrize("name", [n for n, i in INSTRUMENTS.items() if i.target])
def test_labels_that_are_missing_are_told(name: str) -> None:
    text = refused(name, build(), batch()[0], None)
    assert text.startswith(f"{SPEAKS[name]}: ")


@pytest.mark.parametrize("name", [n for n, i in INSTRUMENTS.items() if i.loss])
def test_a_loss_that_is_not_a_single_number_is_told_with_its_shape(name: str) -> None:
    def loss(output: Any, target: Any) -> Any:
        return F.cross_entropy(output, target, reduction="none")

    text = refused(name, build(), *batch(), loss=loss)
    assert "(4,)" in text
    assert text.startswith(f"{SPEAKS[name]}: the loss must be a single number")


@pytest.mark.parametrize("name", INSTRUMENTS)
def test_a_batch_that_does_not_fit_is_told_with_its_shape_and_the_layer(name: str) -> None:
    x = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)
    text = refused(name, build().eval(), x, batch()[1])
    assert text.startswith(f"{SPEAKS[name]}: CifarResNet ")
    assert re.search(r"x: \(\d, 3, 8, 8\) float\d\d", text)
    assert ("target: (" in text) == (name not in ("jacobian_lens", "shattering"))
    assert ", 3, 8, 8)" in text
    assert "in conv1: Conv2d(1, 2" in text


@pytest.mark.parametrize("name", [n for n, i in INSTRUMENTS.items() if i.loss])
def test_labels_that_do_not_fit_are_told(name: str) -> None:
    assert "(3,)" in refused(name, build(), batch()[0], np.array([0, 1, 2]))


BREACHES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "nothing": (lambda u: None, "branch must return a tensor, but returned None"),
    "an array": (lambda u: u.data, "branch must return a tensor, but returned a ndarray"),
    "a tuple": (lambda u: (u, u), "branch must return a tensor, but returned a tuple"),
    "another shape": (lambda u: u[:, :1], "the shortcut gives"),
}


@pytest.mark.parametrize("breach", BREACHES)
@pytest.mark.parametrize("name", [n for n in INSTRUMENTS if n != "check_model"])
def test_a_block_that_breaks_the_contract_is_told_by_its_class(name: str, breach: str) -> None:
    model = build().eval()
    branch, expected = BREACHES[breach]
    model.layer2[0].branch = branch
    text = refused(name, model, *batch())
    assert "PostActivationBlock: " in text
    assert expected in text


@pytest.mark.parametrize("name", [n for n in INSTRUMENTS if n != "check_model"])
def test_a_block_without_a_branch_is_told(name: str) -> None:
    mr.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.ResidualBlock(), nn.Linear(64, 3)).eval()
    assert "must define branch(u)" in refused(name, model, *batch())


def test_a_check_reports_broken_blocks_instead() -> None:
    for branch, expected in BREACHES.values():
        model = build()
        model.layer2[0].branch = branch
        first = check_model(model, *batch()).findings[0]
        assert (first.layer, first.kind) == ("layer2.0", "stopped")
        assert expected in first.text


def test_a_block_that_overrides_forward_is_refused_before_any_instrument_sees_it() -> None:
    with pytest.raises(ContractError, match=r"Own overrides forward\(\)"):

        class Own(nn.ResidualBlock):
            def forward(self, x: Any) -> Any:
                return x
