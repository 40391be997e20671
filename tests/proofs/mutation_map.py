"""Which tests are run for a mutant of which file, the most telling first.

A stage is one run of pytest.  The first stages hold what is written about the file, and are quick;
the last ones hold what else is built on it.
"""

from __future__ import annotations

from pathlib import PurePosixPath

__all__ = ["COPIED", "FOLDERS", "stages_for"]

FOLDERS = ("minires/kernels", "minires/autograd", "minires/functional")
COPIED = ("minires", "tests", "pyproject.toml")

Stage = tuple[str, ...]  # arguments of pytest

# For each file: its own test files, and the words that pick its operations from the two tables.
OWN: dict[str, tuple[tuple[str, ...], str]] = {
    "kernels/add_at": (("kernels/test_add_at",), ""),
    "kernels/checks": (("kernels/test_refusals", "kernels/test_softmax", "kernels/test_norm"), ""),
    "kernels/conv": (("kernels/test_conv",), "conv"),
    "kernels/cuda/conv": (("kernels/cuda/test_conv",), ""),
    "kernels/cuda/elementwise": (("kernels/cuda/test_elementwise",), ""),
    "kernels/cuda/fibers": (("test_fibers",), ""),
    "kernels/cuda/launcher": (("kernels/cuda/test_launcher",), ""),
    "kernels/cuda/norm": (("kernels/cuda/test_norm",), ""),
    "kernels/cuda/pool": (("kernels/cuda/test_pool",), ""),
    "kernels/cuda/sgd": (("kernels/cuda/test_sgd",), ""),
    "kernels/cuda/softmax": (("kernels/cuda/test_softmax",), ""),
    "kernels/cuda/uniform": (("kernels/cuda/test_uniform",), ""),
    "kernels/elementwise": (("kernels/test_elementwise",), "relu or add"),
    "kernels/geometry": (("kernels/test_geometry", "kernels/test_refusals"), "pool or conv"),
    "kernels/im2col": (("kernels/test_working_sets", "kernels/test_conv"), "conv"),
    "kernels/ladder": (("kernels/test_ladder",), ""),
    "kernels/layout": (("kernels/test_layout",), "conv"),
    "kernels/norm": (("kernels/test_working_sets", "kernels/test_norm"), "batch_norm"),
    "kernels/parallel": (("kernels/test_parallel",), "conv"),
    "kernels/pieces": (("kernels/test_working_sets", "kernels/test_conv"), "conv"),
    "kernels/whole_plane": (("kernels/test_whole_plane",), "conv"),
    "kernels/plan": (("kernels/test_working_sets", "kernels/test_conv"), "conv"),
    "kernels/pool": (("kernels/test_pool",), "pool"),
    "kernels/reference": (("kernels/test_reference", "kernels/test_norm"), ""),
    "kernels/reference_pool": (("kernels/test_reference", "kernels/test_pool"), ""),
    "kernels/shifted": (
        (
            "kernels/test_working_sets",
            "kernels/test_shifted",
            "kernels/test_layout",
            "kernels/test_conv",
        ),
        "conv",
    ),
    "kernels/softmax": (("kernels/test_softmax",), "softmax or cross_entropy"),
    "kernels/special": (("kernels/test_special",), "gelu"),
    "kernels/windows": (("kernels/test_pool",), "pool"),
    "autograd/anomaly": (("autograd/test_anomaly", "autograd/test_fresh_nodes"), ""),
    "autograd/engine": (("autograd/test_engine",), "mul"),
    "autograd/function": (("autograd/test_saving", "autograd/test_engine"), "mul"),
    "autograd/grad_mode": (("autograd/test_grad_mode",), ""),
    "autograd/guard": (("autograd/test_saving", "autograd/test_reviewed"), ""),
    "autograd/node": (("autograd/test_tensor",), ""),
    "autograd/sharing": (("autograd/test_sharing",), ""),
    "autograd/tensor": (("autograd/test_tensor", "autograd/test_engine"), ""),
    "functional/activation": (
        (),
        "relu or sigmoid or tanh or gelu or silu or softplus or dropout or softmax",
    ),
    "functional/arithmetic": (
        ("functional/test_dtypes",),
        "add or sub or mul or div or pow or neg or exp or log or sqrt or abs",
    ),
    "functional/bind": (("functional/test_bind", "autograd/test_tensor"), "where or to or cpu"),
    "functional/conv": ((), "conv"),
    "functional/dtypes": (("functional/test_dtypes",), ""),
    "functional/indexing": (("functional/test_corners",), "getitem"),
    "functional/linalg": ((), "linear or matmul"),
    "functional/loss": ((), "loss or cross_entropy"),
    "functional/norm": ((), "batch_norm"),
    "functional/padding": ((), "pad"),
    "functional/pool": ((), "pool"),
    "functional/reduce": (
        ("autograd/test_tensor",),
        "sum or mean or var or std or max or min or arg or logsumexp",
    ),
    "functional/selection": (
        ("functional/test_dtypes",),
        "maximum or minimum or where or clamp",
    ),
    "functional/shape": (
        (),
        "reshape or flatten or permute or transpose or squeeze or expand or broadcast or cat"
        " or stack or to",
    ),
}

NO_GOLDENS = {"kernels/special"}  # files whose operations the goldens lack

# What says most about a whole folder, in the order in which it is asked.
SHORT = (
    "functional/test_messages",
    "functional/test_corners",
    "functional/test_bounds",
    "functional/test_by_hand",
    "functional/test_defaults",
    "functional/test_rungs",
    "functional/test_reviewed",
)
AROUND: Stage = (
    *("tests/autograd", "tests/functional", "--deselect", "tests/functional/test_specs.py"),
    *("tests/nn", "tests/optim", "tests/test_creation.py", "tests/test_rng.py"),
)
KERNELS: Stage = ("tests/kernels",)
KERNELS_IN_USE: Stage = ("tests/kernels/test_ladder.py", "tests/kernels/test_parallel.py")
SPECS: Stage = ("tests/functional/test_specs.py",)
# Kernels of which the specs picked by their words say all that the specs can say: the others do not
# reach them, or never leave the fast rung.
NO_MORE_SPECS = {
    f"kernels/{name}"
    for name in (
        *("conv", "im2col", "ladder", "norm", "pieces", "pool", "reference", "reference_pool"),
        *("shifted", "softmax", "special", "windows"),
    )
}


def stages_for(file: str) -> list[Stage]:
    """The runs of pytest for a mutant of ``file``, in their order.

    >>> stages_for("minires/kernels/ladder.py")[0][:2]
    ('minires/kernels/ladder.py', 'tests/kernels/test_ladder.py')
    """
    place = PurePosixPath(file).with_suffix("").relative_to("minires").as_posix()
    own, words = OWN.get(place, ((), ""))
    if place.startswith("kernels/"):
        own = (*own, "kernels/test_defaults", "kernels/test_limits")
    stages: list[Stage] = [(file, *(_path(name) for name in own))]
    if words:
        if place not in NO_GOLDENS:
            stages.append((_path("functional/test_goldens"), "-k", words))
        stages.append((_path("functional/test_specs"), "-k", words))
    if place.startswith("functional/"):
        stages.insert(len(stages) - bool(words), tuple(map(_path, SHORT)))
    stages += [AROUND, KERNELS if place.startswith("kernels/") else KERNELS_IN_USE]
    return stages if place in NO_MORE_SPECS else [*stages, SPECS]


def _path(name: str) -> str:
    return f"tests/{name}.py"
