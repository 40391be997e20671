"""The launcher: what it hands to a kernel, what it compiles and when, and what its errors show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from minires.errors import DeviceError
from minires.kernels.cuda import launcher
from minires.kernels.cuda.launcher import MAX_BLOCKS, THREADS, Source, blocks_for, ready
from tests.fake_cupy import counters, fake_gpu  # noqa: F401

SCALE = """\
// out = a*x + b, and which threads there were.
extern "C" __global__ void scale(const REAL* x, REAL* out, REAL a, const REAL* b, int64 count) {
    FOR_EACH(i, count) out[i] = a * x[i] + (b ? *b : 0);
}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of sources of our own, with the header that all have."""
    header = (Path(launcher.__file__).parent / "real.cuh").read_text()
    (tmp_path / "real.cuh").write_text(header)
    (tmp_path / "scale.cu").write_text(SCALE)
    monkeypatch.setattr(launcher, "_FOLDER", tmp_path)
    return tmp_path


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [1, 31, 1000, 3000])
def test_a_kernel_gets_its_arrays_numbers_and_null_pointers(
    fake_gpu: Any,  # noqa: F811
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: Any,
    count: int,
) -> None:
    monkeypatch.setattr(launcher, "MAX_BLOCKS", 2)  # fewer threads than the largest has elements
    x = fake_gpu.asarray(np.arange(count, dtype=dtype))
    out, b = fake_gpu.zeros_like(x), fake_gpu.asarray(np.array(7.0, dtype))
    source = Source("scale.cu")
    counters.reset()
    source.launch("scale", dtype, blocks_for(count), x, out, 0.5, None, count)
    np.testing.assert_array_equal(out.get(), 0.5 * np.arange(count))
    source.launch("scale", dtype, blocks_for(count), x, out, 0.5, b, count)
    np.testing.assert_array_equal(out.get(), 0.5 * np.arange(count) + 7)
    assert counters.launches == 2


def test_a_source_is_compiled_once_for_each_dtype(
    fake_gpu: Any,  # noqa: F811
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compiled = []
    module = fake_gpu.RawModule

    def counted(**how: Any) -> Any:
        compiled.append(how["options"])
        return module(**how)

    monkeypatch.setattr(fake_gpu, "RawModule", counted)
    for dtype in (np.float32, np.float64) * 3:
        x = fake_gpu.ones(4, dtype)
        Source("scale.cu").launch("scale", dtype, 1, x, x, 2.0, None, 4)
    assert compiled == [("-std=c++17", "-DREAL=float"), ("-std=c++17", "-DREAL=double")]


def test_an_error_of_the_compiler_shows_its_line_of_source(
    fake_gpu: Any,  # noqa: F811
    folder: Path,
) -> None:
    (folder / "broken.cu").write_text(SCALE.replace("a * x[i]", "undeclared * x[i]"))
    x = fake_gpu.ones(4)
    with pytest.raises(DeviceError, match=r"broken\.cu does not compile") as told:
        Source("broken.cu").launch("scale", np.float64, 1, x, x, 3.0, None, 4)
    assert "undeclared" in str(told.value)
    assert "3 | FOR_EACH(i, count) out[i] = undeclared * x[i]" in str(told.value)


NVRTC_LOG = """\
broken.cu(3): error: identifier "undeclared" is undefined
      out[i] = undeclared * x[i]
1 error detected in the compilation of "/tmp/a/b.cubin.cu".
"""


def test_errors_in_the_words_of_nvrtc_are_understood_too(folder: Path) -> None:
    (folder / "broken.cu").write_text("one\ntwo\n    three;\n")
    text = launcher._explained("broken.cu", NVRTC_LOG)
    assert text.splitlines()[1:] == [
        '  broken.cu(3): error: identifier "undeclared" is undefined',
        "    3 | three;",
    ]
    assert launcher._explained("broken.cu", "no place named") == (
        "broken.cu does not compile:\nno place named"
    )


def test_an_error_that_is_none_of_the_compiler_is_left_as_it_is(
    fake_gpu: Any,  # noqa: F811
    folder: Path,
) -> None:
    x = fake_gpu.ones(4)
    with pytest.raises(AttributeError):
        Source("scale.cu").launch("nothing_of_this_name", np.float64, 1, x)


@pytest.mark.parametrize(("count", "each"), [(0, 1), (1, 1), (256, 1), (257, 1), (10**12, 4)])
def test_there_are_enough_blocks_and_never_too_many(count: int, each: int) -> None:
    blocks = blocks_for(count, each)
    assert 1 <= blocks <= MAX_BLOCKS
    assert blocks * THREADS * each >= count or blocks == MAX_BLOCKS
    assert (blocks - 1) * THREADS * each < max(count, 1)


def test_what_kernels_take_lies_in_one_run_of_memory(fake_gpu: Any) -> None:  # noqa: F811
    x = fake_gpu.asarray(np.arange(6.0).reshape(2, 3))
    assert ready(x) is x
    turned = ready(x.T)
    assert turned.flags.c_contiguous
    np.testing.assert_array_equal(turned.get(), x.get().T)
    assert ready(x, np.float32).dtype == np.float32
