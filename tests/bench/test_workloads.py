"""The table of what is measured."""

from __future__ import annotations

import importlib

import pytest

from minires.bench import GPU_WORKLOADS, WORKLOADS, choose
from minires.bench.process import SIDES
from minires.errors import UsageError


def test_names_are_there_once_each() -> None:
    names = [w.name for w in WORKLOADS]
    assert len(set(names)) == len(names)
    assert {
        *("cifar-resnet20-b128-train", "cifar-resnet20-b128-infer"),
        *("digits-resnet56-w8-b64-train", "resnet18-224-b4-train", "resnet18-224-b4-infer"),
        *("conv-n128-c16-o16-h32-forward", "conv-n8-c3-o64-h224-k7-s2-backward"),
        *("pool-max-k3s2", "pool-avg-k2s2", "pool-global"),
        *("batchnorm-c16-h32-b128", "batchnorm-c32-h16-b128", "batchnorm-c64-h8-b128"),
        *("batchnorm-c64-h56-b8", "import"),
    } <= set(names)
    assert {"depth-scaling", "engine-overhead", "accuracy"} <= {w.group for w in WORKLOADS}


def test_every_convolution_is_timed_both_ways_and_held_against_float64() -> None:
    timed = [w for w in WORKLOADS if w.kind == "conv"]
    forward = {w.name.removesuffix("-forward") for w in timed if not w.spec["backward"]}
    backward = {w.name.removesuffix("-backward") for w in timed if w.spec["backward"]}
    accurate = {f"conv-{w.name.removeprefix('accuracy-')}" for w in choose(["accuracy"])}
    assert forward == backward == accurate
    assert len(forward) == 16


def test_the_padding_keeps_the_image_or_halves_it() -> None:
    for w in WORKLOADS:
        if w.kind == "conv":
            size, spec = w.spec["shape"][2], w.spec
            out = (size + 2 * spec["padding"] - spec["kernel"]) // spec["stride"] + 1
            assert out == size // spec["stride"], w.name


def test_depths_are_those_of_the_paper_and_beyond() -> None:
    depths = [w.spec["depth"] for w in choose(["depth-scaling"])]
    assert depths == [20, 56, 110, 218, 434, 1202]


def test_every_side_knows_the_kinds_it_takes_part_in() -> None:
    for side in SIDES:
        module = importlib.import_module(f"minires.bench.sides.{side.name}_side")
        table = (*WORKLOADS, *GPU_WORKLOADS)
        kinds = {w.kind for w in table if side.name in w.sides} - {"import", "accuracy"}
        assert kinds
        assert [kind for kind in kinds if not hasattr(module, kind)] == []


def test_patterns_fit_names_and_groups_and_keep_the_order() -> None:
    assert choose([]) == list(WORKLOADS)
    found = [w.name for w in choose(["pool-global", "depth-scaling-d1*", "pool-*"])]
    assert found == [
        *("pool-max-k3s2", "pool-avg-k2s2", "pool-global"),
        *("depth-scaling-d110", "depth-scaling-d1202"),
    ]
    assert {w.group for w in choose(["engine-*"])} == {"engine-overhead"}


def test_a_pattern_that_fits_nothing_is_named() -> None:
    with pytest.raises(UsageError, match=r"No workload is called 'conf-\*'; --list shows"):
        choose(["conv-*", "conf-*"])
