"""Networks by name and as data: which family a name means, and what a file may not ask for."""

from __future__ import annotations

import json
from typing import Any

import pytest

import minires as mr
from minires import nn, rng
from minires.errors import UsageError
from minires.models import (
    CifarResNet,
    ImageNetResNet,
    cifar_resnet,
    describe,
    imagenet_resnet,
    named,
    rebuild,
)


@pytest.mark.parametrize(
    ("name", "family", "depth", "residual", "preactivation"),
    [
        *[(f"resnet{d}", ImageNetResNet, d, True, False) for d in (18, 34, 50, 101, 152, 200)],
        ("plain18", ImageNetResNet, 18, False, False),
        ("plain34", ImageNetResNet, 34, False, False),
        ("preresnet18", ImageNetResNet, 18, True, True),
        ("preresnet200", ImageNetResNet, 200, True, True),
        *[(f"resnet{d}", CifarResNet, d, True, False) for d in (8, 20, 56, 110)],
        ("plain20", CifarResNet, 20, False, False),
        ("preresnet110", CifarResNet, 110, True, True),
        ("cifar-resnet50", CifarResNet, 50, True, False),
        ("cifar-plain152", CifarResNet, 152, False, False),
        ("cifar-preresnet200", CifarResNet, 200, True, True),
        ("cifar-resnet20", CifarResNet, 20, True, False),
    ],
)
def test_a_name_means_one_network(
    name: str, family: type, depth: int, residual: bool, preactivation: bool
) -> None:
    model = named(name, width=1, num_classes=2)
    assert type(model) is family
    assert (model.depth, model.residual) == (depth, residual)
    assert model.preactivation == preactivation
    assert model.fc.weight.shape[0] == 2


@pytest.mark.parametrize(
    ("kind", "pre"), [("preresnet", True), ("resnet", False), ("plain", False)]
)
@pytest.mark.parametrize("depth", [164, 1001])
def test_164_and_1001_are_the_bottlenecks_of_2016(kind: str, pre: bool, depth: int) -> None:
    model = named(f"{kind}{depth}", width=1)
    assert isinstance(model, CifarResNet)
    assert len(model.blocks()) == (depth - 2) // 3
    assert model.preactivation == pre
    assert model.options is not None
    assert (model.options["block"], model.options["shortcut"]) == ("bottleneck", "B")


def test_preresnet_164_and_1001_have_the_parameters_of_he_et_al_2016() -> None:
    millions = [sum(p.numel() for p in named(f"preresnet{d}").parameters()) for d in (164, 1001)]
    assert [round(n / 1e6, 1) for n in millions] == [1.7, 10.3]  # the paper says 1.7 and 10.2


def test_options_go_to_the_network_and_come_before_what_a_name_implies() -> None:
    basic = named("resnet164", block="basic", shortcut="A", width=1)
    assert len(basic.blocks()) == 81
    assert len(named("resnet29", block="bottleneck", width=1).blocks()) == 9
    assert named("plain18", preactivation=True, width=1).preactivation


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("resnet21", {}, "There is no network 'resnet21'. In the CIFAR family the nearest are "
         "resnet20 and resnet26: depths are 6n+2"),
        ("plain51", {}, "the nearest are cifar-plain50 and plain56"),
        ("cifar-preresnet19", {}, "preresnet14 and preresnet20"),
        ("cifar-resnet34", {}, "resnet32 and resnet38"),
        ("resnet2", {}, "the other is 'cifar-resnet50'"),
        ("resnte50", {}, "Did you mean resnet50"),
        ("vgg", {}, "A name is resnet, plain or preresnet and a depth"),
        ("resnet", {}, "There is no network 'resnet'"),
        ("resnet-20", {}, "Did you mean resnet20"),
        ("ResNet18", {}, "There is no network"),
        ("resnet20x", {}, "There is no network"),
        ("resnet" + "9" * 5000, {}, "There is no network"),
        (None, {}, "There is no network None"),
        ("plain20", {"residual": True}, "residual=True contradicts the name 'plain20'"),
        ("preresnet20", {"preactivation": False}, "contradicts the name"),
        ("resnet29", {}, "resnet26 and resnet32"),
        ("resnet30", {"block": "bottleneck"}, "9n+2; the nearest are 29 and 38"),
        ("resnet50", {"block": "basic"}, "block='bottleneck'"),
    ],
)  # fmt: skip
def test_what_has_no_network_is_refused_with_what_is_near(
    name: Any, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(UsageError) as caught:
        named(name, **options)
    assert says in str(caught.value)


# --- as data ---


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("plain8", {"width": 2, "num_classes": 3}),
        ("resnet11", {"block": "bottleneck", "width": 2, "shortcut": "C"}),
        ("preresnet50", {"width": 1, "in_channels": 1, "init_scale": 0.5}),
        ("resnet18", {"width": 2, "norm": None, "zero_init_residual": True}),
    ],
)
def test_a_network_is_built_again_from_its_description(name: str, options: dict[str, Any]) -> None:
    model = named(name, **options)
    description = json.loads(json.dumps(describe(model), allow_nan=False))
    before = rng.get_state()
    again = rebuild(description)
    assert rng.get_state() == before
    assert type(again) is type(model)
    assert repr(again) == repr(model)
    assert describe(again) == describe(model) == description
    assert again.load_state_dict(model.state_dict()) == ([], [])


def test_a_description_is_a_copy_and_says_the_family() -> None:
    for model, family in (
        (cifar_resnet(8, width=1), "cifar"),
        (imagenet_resnet(18, width=1), "imagenet"),
    ):
        found = describe(model)
        assert found.pop("family") == family
        found["width"] = 7
        assert describe(model)["width"] == 1


def test_a_twin_is_described_as_the_network_that_it_was_made_of() -> None:
    model = cifar_resnet(8, width=1)
    assert describe(mr.models.twin(model, 0.5)) == describe(model)


def test_options_that_are_left_out_have_their_defaults() -> None:
    assert describe(rebuild({"family": "cifar", "depth": 8})) == describe(cifar_resnet(8))


class Changed(CifarResNet):
    """A network of a user's own."""


def test_a_network_of_no_family_is_not_described() -> None:
    ours = cifar_resnet(8, width=1)
    changed = Changed(8, ours.block_options, width=1, in_channels=3, num_classes=10)
    changed.options = ours.options
    for model in (nn.Linear(1, 1), mr.models.stack(2, 2), changed):
        with pytest.raises(UsageError, match="does not know how it was built"):
            describe(model)


@pytest.mark.parametrize(
    ("description", "says"),
    [
        ({}, "Unknown family None: choose 'cifar' or 'imagenet'"),
        ({"family": "vgg", "depth": 8}, "Unknown family 'vgg'"),
        ({"family": ["cifar"], "depth": 8}, "Unknown family"),
        ([], "is a dict"),
        (None, "is a dict"),
        ({"family": "cifar"}, "depth=None cannot be built"),
        ({"family": "cifar", "depth": 21}, "nearest are 20 and 26"),
        ({"family": "imagenet", "depth": 20}, "does not exist in the ImageNet family"),
        ({"family": "cifar", "depth": 60_002}, "depth must be a whole number from 1 to 10,000"),
        ({"family": "cifar", "depth": 8.0}, "depth=8.0"),
        ({"family": "cifar", "depth": True}, "depth=True"),
        ({"family": "cifar", "depth": "8"}, "depth='8'"),
        ({"family": "cifar", "depth": 8, "width": 4097}, "from 1 to 4,096"),
        ({"family": "cifar", "depth": 8, "width": -1}, "width=-1"),
        ({"family": "cifar", "depth": 8, "in_channels": 10**9}, "in_channels"),
        ({"family": "imagenet", "depth": 18, "num_classes": 1_000_001}, "to 1,000,000"),
        ({"family": "cifar", "depth": 8, "residual": "no"}, "must be true or false"),
        ({"family": "cifar", "depth": 8, "layers_per_skip": "2"},
         "layers_per_skip must be a whole number, not '2'"),
        ({"family": "cifar", "depth": 8, "init_scale": "x"}, "init_scale must be a number"),
        ({"family": "cifar", "depth": 8, "init_scale": 10**400}, "cannot be built of"),
        ({"family": "cifar", "depth": 8, "shortcut": ["A"]}, "Unknown shortcut"),
        ({"family": "cifar", "depth": 8, "blok": 1}, "Unknown options of the cifar family: 'blok'"),
        ({"family": "imagenet", "depth": 18, "layers_per_skip": 2}, "'layers_per_skip'"),
    ],
)  # fmt: skip
def test_what_no_network_can_be_built_of_is_refused(description: Any, says: str) -> None:
    mr.manual_seed(3)
    before = rng.get_state()
    with pytest.raises(UsageError) as caught:
        rebuild(description)
    assert says in str(caught.value)
    assert rng.get_state() == before
