"""Networks by name, and as plain data that a file can hold."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from minires import nn, rng
from minires.errors import UsageError
from minires.models.cifar import CifarResNet, check_depth, cifar_resnet, nearest_depths
from minires.models.imagenet import STAGES, ImageNetResNet, imagenet_resnet
from minires.models.resnet import ResNet

__all__ = ["describe", "named", "rebuild"]


class Family(NamedTuple):
    """The class of its networks, and the function that builds them."""

    network: type[ResNet]
    build: Callable[..., ResNet]


FAMILIES = {
    "cifar": Family(CifarResNet, cifar_resnet),
    "imagenet": Family(ImageNetResNet, imagenet_resnet),
}
_NAME = re.compile(r"(cifar-)?(resnet|plain|preresnet)([1-9][0-9]{0,4})")
# Both are 9n+2; the authors' code projects where the dimensions change.
_BOTTLENECKS_OF_2016 = (164, 1001)
# What a file may ask for: a wrong number in it must not fill the memory.
_LIMITS = {"depth": 10_000, "width": 4_096, "in_channels": 4_096, "num_classes": 1_000_000}


def named(name: str, **options: Any) -> ResNet:
    """The network of this name, as the papers and torchvision call it.

    ===============================================  ===========================================
    resnet18, 34, 50, 101, 152, 200                  :func:`~minires.models.imagenet_resnet`
    plain18, 34, ...; preresnet18, 34, ...           the same without skips; with pre-activation
    resnetN, plainN, preresnetN of any other N       :func:`~minires.models.cifar_resnet`
    cifar-resnetN, cifar-plainN, cifar-preresnetN    the CIFAR family whatever N is
    ===============================================  ===========================================

    50, 152 and 200 are depths of both families (6n + 2): without a prefix they mean ImageNet's,
    'cifar-resnet50' is the other.  CIFAR's are of basic blocks (6n + 2), but for the depths 164 and
    1001 of He et al. 2016, which are of bottlenecks (9n + 2) with shortcut B.

    Args:
        name: one of these.
        options: what the function of the family takes, such as ``num_classes``.

    Raises:
        UsageError: there is no such network (the message names the nearest), or an option
            contradicts the name, does not exist, or has a value that makes no sense.

    >>> named("resnet20", width=2)
    ... # doctest: +ELLIPSIS
    CifarResNet(residual-20
    ...
    >>> named("preresnet18", width=2, num_classes=10).preactivation
    True
    """
    match = _NAME.fullmatch(str(name))
    if match is None:
        raise UsageError(f"There is no network {name!r}. {_nearest(name)}")
    prefix, kind, depth = match[1] or "", match[2], int(match[3])
    said = {"depth": depth, "residual": kind != "plain"}
    if kind == "preresnet":
        said["preactivation"] = True
    for option, value in said.items():
        if options.get(option, value) != value:
            raise UsageError(f"{option}={options[option]!r} contradicts the name {name!r}.")
    options |= said
    if not prefix and depth in STAGES:
        return _built("imagenet", options)
    if depth in _BOTTLENECKS_OF_2016:
        options = {"block": "bottleneck", "shortcut": "B"} | options
    if not options.keys() & {"block", "layers_per_skip"}:
        _check_name(name, kind, depth)
    return _built("cifar", options)


def _check_name(name: str, kind: str, depth: int) -> None:
    """Raise UsageError, with the nearest names, unless CIFAR's basic blocks make ``depth``."""
    try:
        check_depth(depth)
    except UsageError as error:
        near = " and ".join(_cifar_name(kind, other) for other in nearest_depths(depth))
        raise UsageError(
            f"There is no network {name!r}. In the CIFAR family the nearest are {near}: depths are "
            f"6n+2 with basic blocks, and 164 and 1001. {_imagenet_names(kind)}"
        ) from error


def _cifar_name(kind: str, depth: int) -> str:
    return f"{'cifar-' if depth in STAGES else ''}{kind}{depth}"


def _imagenet_names(kind: str) -> str:
    depths = ", ".join(map(str, STAGES))
    return (
        f"The ImageNet family has {kind}{depths}. A depth that both families have (50, 152, 200) "
        f"means ImageNet's; the other is 'cifar-{kind}50'."
    )


def _nearest(name: str) -> str:
    """What to write instead of a name that cannot be read."""
    import difflib

    kinds = ("resnet", "plain", "preresnet")
    known = [f"{kind}{depth}" for kind in kinds for depth in (*STAGES, 20, 32, 44, 56, 110, 1202)]
    near = difflib.get_close_matches(str(name), [*known, *(f"cifar-{k}50" for k in kinds)])
    mend = f"Did you mean {' or '.join(near)}? " if near else ""
    return (
        f"{mend}A name is resnet, plain or preresnet and a depth, such as resnet20 or plain56. "
        f"{_imagenet_names('resnet')}"
    )


def describe(model: nn.Module) -> dict[str, Any]:
    """Which network ``model`` is, as plain data for JSON; :func:`rebuild` builds it again.

    The weights are not in it: they are in ``model.state_dict()``.  Nor is what was changed after
    the network was built, such as the scales of its skips: a :func:`~minires.models.twin` is
    described as the network that it was made of.  (A checkpoint keeps the scales beside it.)

    Raises:
        UsageError: the model was not built by a function of a family.

    >>> import minires as mr
    >>> found = describe(mr.models.cifar_plain(8, width=2))
    >>> found["family"], found["depth"], found["residual"]
    ('cifar', 8, False)
    """
    options = getattr(model, "options", None)
    for family, (network, _) in FAMILIES.items():
        if type(model) is network and options is not None:
            return {"family": family, **options}
    raise UsageError(
        f"A {type(model).__name__} does not know how it was built: only the networks of "
        "models.cifar_resnet, models.imagenet_resnet and models.named can be described."
    )


def rebuild(description: Mapping[str, Any]) -> ResNet:
    """The network that :func:`describe` described, with new weights.

    The default generator is left as it was.  Options that are left out have their defaults.

    Raises:
        UsageError: a family or an option that does not exist, a value that does not fit, or a size
            beyond reason (depth over 10,000, width or in_channels over 4,096, num_classes over
            1,000,000), such as a damaged file might hold.

    >>> rebuild({"family": "imagenet", "depth": 18, "width": 2}).depth
    18
    """
    if not isinstance(description, Mapping):
        raise UsageError(f"A description of a network is a dict, not {description!r}.")
    options = dict(description)
    family = options.pop("family", None)
    if not isinstance(family, str) or family not in FAMILIES:
        raise UsageError(f"Unknown family {family!r}: choose {' or '.join(map(repr, FAMILIES))}.")
    state = rng.get_state()
    try:
        return _built(family, {"depth": None} | options)
    finally:
        rng.set_state(state)


def _built(family: str, options: Mapping[str, Any]) -> ResNet:
    """A network of the family; UsageError for options that it does not have or cannot take."""
    build = FAMILIES[family].build
    known = inspect.signature(build).parameters
    if unknown := [name for name in options if name not in known]:
        raise UsageError(
            f"Unknown options of the {family} family: {', '.join(map(repr, unknown))}. "
            f"It has {', '.join(known)}."
        )
    _check_values(family, options, known)
    try:
        return build(**options)
    except OverflowError as error:  # a whole number that no float holds
        raise UsageError(
            f"A network of the {family} family cannot be built of {options}: {error}."
        ) from error


def _check_values(
    family: str, options: Mapping[str, Any], known: Mapping[str, inspect.Parameter]
) -> None:
    """Raise UsageError for a size beyond reason, and for what should be true or false."""
    for name, value in options.items():
        limit = _LIMITS.get(name)
        if limit is not None and (type(value) is not int or not 0 < value <= limit):
            needed = f"a whole number from 1 to {limit:,}"
        elif isinstance(known[name].default, bool) and not isinstance(value, bool):
            needed = "true or false"
        else:
            continue
        raise UsageError(
            f"A network of the {family} family with {name}={value!r} cannot be built: "
            f"{name} must be {needed}."
        )
