"""What an error of a layer, a start or a step says: what came in, what it needed, and the mend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minires as mr
import minires.functional as F
from minires import nn, optim
from minires.errors import DTypeError, ShapeError, UsageError
from minires.nn import init
from minires.optim import lr_scheduler as schedules
from tests.refusals import assert_refused

x, image = mr.ones(2, 3), mr.ones(2, 3, 8, 8)
NAN = float("nan")


def parameter() -> nn.Parameter:
    return nn.Parameter([1.0])


def sgd(**settings: Any) -> optim.SGD:
    return optim.SGD([parameter()], **{"lr": 1.0, **settings})


def adam(**settings: Any) -> optim.Adam:
    return optim.Adam([parameter()], **settings)


def in_a_row(*makers: Any, milestones: Any) -> object:
    optimizer = sgd()
    return schedules.SequentialLR(optimizer, [make(optimizer) for make in makers], milestones)


def every_epoch(optimizer: Any) -> schedules.StepLR:
    return schedules.StepLR(optimizer, 1)


Bad = tuple[Callable[[], Any], type[Exception], str]
# The parts of a message, in this order, divided by " ... "; it begins with the first.
LAYERS: list[Bad] = [
    (lambda: nn.Linear(0, 1), UsageError, "Linear: in_features must be a whole number ... got 0"),
    (
        lambda: nn.Linear(1, 1.5),
        UsageError,
        "Linear: out_features must be a whole number ... got 1.5",
    ),
    (
        lambda: nn.Linear(4, 2)(x),
        ShapeError,
        "linear: input must end ... input: (2, 3) float32    weight: (2, 4) ... Check in_features",
    ),
    (lambda: nn.Conv2d(0, 1, 3), UsageError, "Conv2d: in_channels must be ... got 0"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), ShapeError, "Conv2d: 2 groups ... in_channels 3 ... 4"),
    (
        lambda: nn.Conv2d(3, 4, "3"),
        UsageError,
        "Conv2d: kernel_size must be a whole ... '3'",
    ),
    (lambda: nn.Conv2d(3, 4, 0), UsageError, "Conv2d: kernel_size must be ... got 0"),
    (lambda: nn.Conv2d(3, 4, 3, stride=0), UsageError, "Conv2d: stride must be 1 or more, not 0"),
    (
        lambda: nn.Conv2d(3, 4, 3, padding=-1),
        UsageError,
        "Conv2d: padding must be 0 or more, not -1",
    ),
    (
        lambda: nn.Conv2d(3, 4, 3, dilation=0),
        UsageError,
        "Conv2d: dilation must be 1 or more, not 0",
    ),
    (lambda: nn.Conv2d(3, 4, 3, padding="full"), UsageError, "Conv2d: padding 'full' is none of"),
    (
        lambda: nn.Conv2d(3, 4, 3, stride=2, padding="same"),
        UsageError,
        "Conv2d: padding='same' needs stride 1, not (2, 2)",
    ),
    (
        lambda: nn.Conv2d(3, 4, 3)(mr.ones(1, 1, 8, 8)),
        ShapeError,
        "conv2d: x has 1 channels ... Check",
    ),
    (lambda: nn.BatchNorm2d(0), UsageError, "BatchNorm2d: num_features must be ... got 0"),
    (
        lambda: nn.BatchNorm2d(3, eps=-1.0),
        UsageError,
        "BatchNorm2d: eps must not be negative ... -1",
    ),
    (lambda: nn.BatchNorm2d(3, momentum="a"), UsageError, "BatchNorm2d: momentum must be ... 'a'"),
    (
        lambda: nn.BatchNorm2d(3)(x),
        ShapeError,
        "BatchNorm2d: input must be ... input: (2, 3) float32",
    ),
    (
        lambda: nn.BatchNorm2d(3)([1.0]),
        DTypeError,
        "BatchNorm2d: input must be a tensor ... not list",
    ),
    (
        lambda: nn.BatchNorm2d(4)(image),
        ShapeError,
        "batch_norm: weight must ... 3 channels ... input: (2, 3, 8, 8) ... Check num_features",
    ),
    (lambda: nn.MaxPool2d(0), UsageError, "MaxPool2d: kernel_size must be 1 or more, not 0"),
    (
        lambda: nn.MaxPool2d(2, dilation=0),
        UsageError,
        "MaxPool2d: dilation must be 1 or more, not 0",
    ),
    (
        lambda: nn.AvgPool2d("2"),
        UsageError,
        "AvgPool2d: kernel_size must be a whole number ... '2'",
    ),
    (
        lambda: nn.AvgPool2d(2, padding=-1),
        UsageError,
        "AvgPool2d: padding must be 0 or more, not -1",
    ),
    (lambda: nn.AdaptiveAvgPool2d(0)(image), ShapeError, "adaptive_avg_pool2d: cannot ... (0, 0)"),
    (lambda: nn.Dropout(2), UsageError, "Dropout: p must be a probability between 0 and 1, got 2"),
    (lambda: nn.Dropout("a"), UsageError, "Dropout: p must be a number, not 'a'"),
    (lambda: nn.Flatten(3)(x), ShapeError, "flatten: dim 3 is out of range for 2 dimensions"),
    (
        lambda: nn.ReLU()(None),
        DTypeError,
        "relu: input must be a tensor ... input: None ... return",
    ),
    (lambda: nn.MSELoss("avg")(x, x), UsageError, "mse_loss: reduction 'avg' is none of 'mean'"),
    (
        lambda: nn.CrossEntropyLoss(reduction="avg")(x, np.array([0, 1])),
        UsageError,
        "cross_entropy: reduction 'avg' is none of 'mean', 'sum' and 'none'",
    ),
    (
        lambda: nn.CrossEntropyLoss([1.0]),
        DTypeError,
        "CrossEntropyLoss: the buffer weight must be a Tensor or None, not a list ... mr.tensor(",
    ),
    (
        lambda: nn.Sequential(F.relu),
        DTypeError,
        "Sequential: position 0 is a function (relu), not a Module ... nn.ReLU()",
    ),
    (
        lambda: nn.ModuleList(nn.ReLU()),
        DTypeError,
        "ModuleList: takes a list of modules, not a ReLU",
    ),
    (lambda: nn.Parameter([1]), DTypeError, "requires_grad: only floating-point tensors ... int64"),
    (lambda: nn.Parameter("a"), DTypeError, "tensor: cannot make numbers of str"),
]
FILLS: list[tuple[Callable[..., Any], str]] = [
    *((getattr(init, name), name) for name in ("zeros_", "ones_", "normal_", "uniform_")),
    *((getattr(init, name), name) for name in ("eye_", "dirac_")),
    *(
        (getattr(init, f"{name}_{shape}_"), "init")
        for name in ("kaiming", "xavier")
        for shape in ("normal", "uniform")
    ),
]
STARTS: list[Bad] = [
    *(
        (lambda f=f: f([1.0]), DTypeError, f"{name}: fills a Tensor in place, not list ... [1.0]")
        for f, name in FILLS
    ),
    *(
        (lambda f=f: f(mr.ones(3)), ShapeError, "init: a fan needs a weight of two ... (3,)")
        for f, name in FILLS
        if name == "init"
    ),
    (lambda: init.constant_(None, 1.0), DTypeError, "constant_: fills a Tensor ... not NoneType"),
    (lambda: init.constant_(x, "a"), UsageError, "constant_: value must be a number, not 'a'"),
    (lambda: init.normal_(x, std=-1.0), UsageError, "normal_: std must not be negative, got -1.0"),
    (lambda: init.normal_(x, "a"), UsageError, "normal_: mean must be a number, not 'a'"),
    (
        lambda: init.uniform_(x, 1.0, 0.0),
        UsageError,
        "uniform_: a must not be above b, got 1.0 and 0.0",
    ),
    (
        lambda: init.kaiming_normal_(x, mode="fan"),
        UsageError,
        "init: mode 'fan' is neither 'fan_in'",
    ),
    (lambda: init.kaiming_uniform_(x, a="a"), UsageError, "init: a must be a number, not 'a'"),
    (lambda: init.xavier_normal_(x, "a"), UsageError, "init: gain must be a number, not 'a'"),
    (
        lambda: init.calculate_gain("selu"),
        UsageError,
        "init: unknown nonlinearity 'selu'; known: lin",
    ),
    (lambda: init.fans((3,)), ShapeError, "init: a fan needs a weight of two dimensions or more"),
    (lambda: init.eye_(mr.ones(3)), ShapeError, "eye_: needs a weight of two dimensions, not (3,)"),
    (lambda: init.dirac_(x), ShapeError, "dirac_: needs a weight of 3 to 5 dimensions, not (2, 3)"),
    (lambda: init.dirac_(image, 3), ShapeError, "dirac_: 3 groups do not divide the 2 output"),
    (lambda: init.dirac_(image, 0.5), UsageError, "dirac_: groups must be a whole number, not 0.5"),
]
STEPS: list[Bad] = [
    *(
        (lambda f=f, s=s: f(**{s: -1.0}), UsageError, f"{n}: {s} must not be negative, got -1.0")
        for f, n, settings in (
            (sgd, "SGD", ("lr", "momentum", "weight_decay")),
            (adam, "Adam", ("lr", "eps", "weight_decay")),
        )
        for s in settings
    ),
    *(
        (lambda f=f, s=s: f(**{s: "a"}), UsageError, f"{n}: {s} must be a number, not 'a'")
        for f, n, settings in (
            (sgd, "SGD", ("lr", "momentum", "dampening", "weight_decay")),
            (adam, "Adam", ("lr", "eps", "weight_decay")),
        )
        for s in settings
    ),
    (lambda: sgd(lr=NAN), UsageError, "SGD: lr must not be negative, got nan"),
    (
        lambda: sgd(nesterov=True),
        UsageError,
        "SGD: nesterov needs momentum above 0 ... momentum 0.0",
    ),
    (lambda: optim.AdamW([parameter()], lr=-1.0), UsageError, "AdamW: lr must not be negative"),
    (lambda: adam(betas=(0.9, 1.0)), UsageError, "Adam: betas must be two numbers ... (0.9, 1.0)"),
    (lambda: adam(betas=0.9), UsageError, "Adam: betas must be two numbers ... 0.9"),
    (lambda: adam(betas=("a", "b")), UsageError, "Adam: betas must be a number, not 'a'"),
    (lambda: optim.SGD([]), UsageError, "SGD: got no parameters to train ... nn.ModuleList"),
    (lambda: optim.SGD(None), UsageError, "SGD: takes a list of tensors, or model.param ... None"),
    (lambda: optim.SGD(parameter()), UsageError, "SGD: put a single tensor in a list: [tensor]"),
    (lambda: optim.SGD(nn.ReLU()), UsageError, "SGD: trains tensors: pass model.parameters()"),
    (lambda: optim.SGD([1.0]), UsageError, "SGD: trains tensors, not float"),
    (
        lambda: optim.SGD(nn.Linear(1, 1).named_parameters()),
        UsageError,
        "SGD: trains tensors, not tuple ... without the names",
    ),
    (
        lambda: optim.SGD([parameter() * 2.0]),
        UsageError,
        "SGD: trains leaves, not a result of Mul ... (1,)",
    ),
    (lambda: optim.SGD([parameter()] * 1 + [{}]), UsageError, "SGD: trains tensors, not dict"),
    (lambda: optim.SGD([{"lr": 1.0}]), UsageError, "SGD: each group must be a dict ... ['lr']"),
    (
        lambda: optim.SGD([{"params": [parameter()]}, parameter()]),
        UsageError,
        "SGD: each group must be a dict with its 'params' ... one is Parameter",
    ),
    (
        lambda: optim.SGD([{"params": [parameter()], "lr": -1.0}]),
        UsageError,
        "SGD: lr must not be negative, got -1.0",
    ),
    *(
        (
            lambda make=make: make(nn.ReLU()),
            UsageError,
            f"{make(sgd()).__class__.__name__}: optimizer must be an Optimizer ... not ReLU",
        )
        for make in (
            every_epoch,
            schedules.LinearLR,
            lambda o: schedules.MultiStepLR(o, [1]),
            lambda o: schedules.CosineAnnealingLR(o, 1),
        )
    ),
    (lambda: schedules.MultiStepLR(sgd(), 3), UsageError, "MultiStepLR: milestones must ... 3"),
    (
        lambda: schedules.MultiStepLR(sgd(), ["a"]),
        UsageError,
        "MultiStepLR: a milestone must ... 'a'",
    ),
    (
        lambda: schedules.MultiStepLR(sgd(), [1], "a"),
        UsageError,
        "MultiStepLR: gamma must be ... 'a'",
    ),
    (lambda: schedules.StepLR(sgd(), 0), UsageError, "StepLR: step_size must be at least 1, got 0"),
    (lambda: schedules.StepLR(sgd(), 1.5), UsageError, "StepLR: step_size must be a whole ... 1.5"),
    (
        lambda: schedules.LinearLR(sgd(), 0.0),
        UsageError,
        "LinearLR: start_factor must be above 0 ... 0",
    ),
    (lambda: schedules.LinearLR(sgd(), "a"), UsageError, "LinearLR: start_factor must be a number"),
    (
        lambda: schedules.CosineAnnealingLR(sgd(), 0),
        UsageError,
        "CosineAnnealingLR: T_max must be at least 1, got 0",
    ),
    (lambda: in_a_row(milestones=[]), UsageError, "SequentialLR: needs schedules ... not []"),
    (
        lambda: in_a_row(every_epoch, every_epoch, milestones=[]),
        UsageError,
        "SequentialLR: 2 schedules need 1 rising milestones, got []",
    ),
    (
        lambda: in_a_row(lambda _: every_epoch(sgd()), milestones=[]),
        UsageError,
        "SequentialLR: needs schedules, all of the optimiser it is given",
    ),
]
BAD = [*LAYERS, *STARTS, *STEPS]


@pytest.mark.parametrize("bad", BAD, ids=[bad[2].split(" ... ")[0] for bad in BAD])
def test_a_mistake_is_named_with_what_came_in_and_the_mend(bad: Bad) -> None:
    assert_refused(*bad)


def test_every_layer_has_a_wrong_call() -> None:
    said = " ".join(bad[2] for bad in LAYERS).replace("_", "").lower()
    classes = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)}
    layers = {name for name in classes if issubclass(getattr(nn, name), nn.Module)}
    no_layers_of_their_own = {"Module", "ResidualBlock", "Identity"}
    assert not [name for name in layers - no_layers_of_their_own if name.lower() not in said]
