"""What the blocks of a network have in common, and which of it goes together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

from minires.errors import UsageError

__all__ = [
    "EXPANSION",
    "GATED",
    "ORDERS",
    "SKIPS",
    "BlockOptions",
    "check_options",
    "check_zero_init",
]

EXPANSION = 4  # a bottleneck ends with four times its inner channels

# He et al. 2016, table 2 and table 1.
ORDERS = (
    "original",
    "bn-after-addition",
    "relu-before-addition",
    "relu-only-preactivation",
    "full-preactivation",
)
_CONV_ENDS_BRANCH = ("bn-after-addition", "full-preactivation")
GATED = ("exclusive-gating", "shortcut-only-gating")
SKIPS = ("identity", "constant-scaling", "constant-scaling-skip", *GATED, "conv", "dropout")


@dataclass(frozen=True)
class BlockOptions:
    """What the blocks of a network have in common; see :func:`~minires.models.cifar_resnet`."""

    block: str = "basic"
    layers: int = 2
    residual: bool = True
    shortcut: str = "A"
    norm: str | None = "batch"
    order: str = "original"
    skip: str = "identity"
    gate_bias: float | None = None
    branch_scale: float | None = None
    stochastic_depth: float | None = None
    fixup: bool = False

    @classmethod
    def of(cls, arguments: Mapping[str, Any], **others: Any) -> BlockOptions:
        """The options among the arguments of a function; ``others`` come first.

        ``preactivation`` is short for an order.  Raises UsageError if they contradict each other.
        """
        preactivation, order = arguments["preactivation"], arguments["order"]
        if preactivation and order not in (None, "full-preactivation"):
            raise UsageError(
                f"preactivation=True is short for order='full-preactivation', but order is "
                f"{order!r}. Leave one of them out."
            )
        if order is None:
            order = "full-preactivation" if preactivation else "original"
        names = {entry.name for entry in fields(cls)}
        found = {name: arguments[name] for name in names & arguments.keys()}
        return cls(**found | {"order": order} | others)

    @property
    def preactivation(self) -> bool:
        """Whether the order is that of He et al. 2016."""
        return self.order == "full-preactivation"

    @property
    def as_arguments(self) -> dict[str, Any]:
        """How a function of a family is told the order: by name only where there is no other way.

        So that equal networks have equal options.
        """
        named = self.order not in ("original", "full-preactivation")
        return {"preactivation": self.preactivation, "order": self.order if named else None}

    @property
    def expansion(self) -> int:
        """Channels of a block's output for each of its inner channels."""
        return EXPANSION if self.block == "bottleneck" else 1

    @property
    def conv_bias(self) -> bool:
        """Whether convolutions have a bias: a norm has one of its own, and so has Fixup."""
        return self.norm is None and not self.fixup

    @property
    def activates_last(self) -> bool:
        """Whether heads begin with the activation that the last block does not end with."""
        return self.order in ("relu-only-preactivation", "full-preactivation")

    @property
    def norm_ends_branch(self) -> bool:
        """Whether a norm is the last layer of the branch."""
        return self.norm is not None and self.order not in _CONV_ENDS_BRANCH

    @property
    def head_norm(self) -> str | None:
        """The norm before that activation."""
        return self.norm if self.preactivation else None


def check_options(options: BlockOptions) -> None:
    """Raise UsageError for a kind that does not exist, or kinds that do not go together."""
    _check_kinds(options)
    _check_order(options)
    _check_skip(options)
    _check_branch(options)
    if options.fixup:
        _check_fixup(options)


def check_zero_init(options: BlockOptions) -> None:
    """Raise UsageError where ``zero_init_residual`` would stop a branch from ever learning."""
    if not options.residual:
        raise UsageError("zero_init_residual would make a plain network dead: it needs skips.")
    if options.fixup:
        raise UsageError(
            "zero_init_residual: fixup=True starts the last convolution of every branch at zero "
            "already. Leave zero_init_residual out."
        )
    if options.order == "relu-before-addition":
        raise UsageError(
            "zero_init_residual: with order='relu-before-addition' a ReLU ends the branch, and a "
            "ReLU that is given zeros sends no gradient back, so the branch would stay zero. "
            "branch_scale=0.0 starts with such blocks at the identity."
        )
    if options.branch_scale == 0:
        raise UsageError(
            "zero_init_residual: with branch_scale=0.0 two factors of the branch would be zero, "
            "and neither would get a gradient. Leave one of them out."
        )


def _check_kinds(options: BlockOptions) -> None:
    if options.block not in ("basic", "bottleneck"):
        raise UsageError(f"Unknown block {options.block!r}: choose 'basic' or 'bottleneck'.")
    if options.shortcut not in ("A", "B", "C"):
        raise UsageError(f"Unknown shortcut {options.shortcut!r}: choose A, B or C.")
    if options.norm not in ("batch", None):
        raise UsageError(f"Unknown norm {options.norm!r}: choose 'batch' or None.")
    for name, kind, known in (("order", options.order, ORDERS), ("skip", options.skip, SKIPS)):
        if kind not in known:
            raise UsageError(f"Unknown {name} {kind!r}: choose {', '.join(map(repr, known))}.")


def _check_order(options: BlockOptions) -> None:
    """Raise UsageError for an order that is another one under a second name."""
    order, needs = options.order, ""
    if options.norm is None and order == "bn-after-addition":
        needs, same = "norm='batch': without it nothing is left to move", "original"
    elif options.norm is None and order == "relu-only-preactivation":
        needs, same = "norm='batch': without it only ReLU comes first", "full-preactivation"
    elif not options.residual and order in ("bn-after-addition", "relu-before-addition"):
        needs, same = "residual=True: without a sum nothing is before or after it", "original"
    if needs:
        raise UsageError(
            f"order={order!r} needs {needs}, and the block is that of order={same!r}. Choose that."
        )


def _check_skip(options: BlockOptions) -> None:
    if options.gate_bias is not None:
        if options.skip not in GATED:
            raise UsageError(
                f"gate_bias is that of the gates, but skip={options.skip!r} has none: choose "
                f"{' or '.join(map(repr, GATED))}, or leave gate_bias out."
            )
        _check_number("gate_bias", options.gate_bias)
    if options.skip == "identity":
        return
    what = f"skip={options.skip!r}"
    if not options.residual:
        raise UsageError(f"{what} says what the skips are, but residual=False leaves them out.")
    if options.order != "original":
        raise UsageError(
            f"{what} is a variant of the original block (He et al. 2016, table 1), and cannot be "
            f"had with order={options.order!r}. Leave one of them out."
        )
    if options.shortcut == "C":
        raise UsageError(
            f"{what} takes the place of the identity shortcuts, and shortcut='C' leaves none: it "
            "projects everywhere. Choose shortcut A or B."
        )


def _check_branch(options: BlockOptions) -> None:
    if options.branch_scale is not None:
        _check_number("branch_scale", options.branch_scale)
        if not options.residual:
            raise UsageError(
                "branch_scale weighs the branch against the skip, and residual=False leaves the "
                "skips out."
            )
        if options.skip == "constant-scaling":
            raise UsageError(
                "branch_scale: skip='constant-scaling' holds the scale of the branch at 0.5. "
                "Choose skip='constant-scaling-skip', or leave branch_scale out."
            )
    if options.stochastic_depth is not None:
        last = options.stochastic_depth
        if not _is_number(last) or not 0.0 < last <= 1.0:
            raise UsageError(
                "stochastic_depth is the probability that the branch of the last block survives: "
                f"above 0 and at most 1, got {last!r}."
            )
        if not options.residual:
            raise UsageError(
                "stochastic_depth drops branches, so that the skips alone are left, and "
                "residual=False leaves no skips: nothing would get through."
            )


def _check_fixup(options: BlockOptions) -> None:
    wrong = {
        "norm": (options.norm, None, "it is there to do without a norm"),
        "residual": (options.residual, True, "its branches start at zero, so it needs skips"),
        "order": (options.order, "original", "its biases stand where the original block has BN"),
        "skip": (options.skip, "identity", "its scale is that for a sum over identity skips"),
        "branch_scale": (options.branch_scale, None, "each branch has a multiplier already"),
    }
    for name, (given, needed, why) in wrong.items():
        if given != needed:
            raise UsageError(f"fixup=True needs {name}={needed!r}, got {given!r}: {why}.")


def _check_number(name: str, value: Any) -> None:
    if not _is_number(value) or not math.isfinite(value):
        raise UsageError(f"{name} must be a finite number, got {value!r}.")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
