"""Every CUDA source compiles for the cards in use, where a CUDA compiler is at hand."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from minires.kernels.cuda import launcher
from minires.kernels.cuda.launcher import source_text

SOURCES = sorted(path.name for path in Path(launcher.__file__).parent.glob("*.cu"))
CARDS = ["sm_75", "sm_80", "sm_90"]  # Turing, Ampere, Hopper
NVCC = shutil.which("nvcc")
HAS_NVRTC = importlib.util.find_spec("cupy") is not None  # CuPy brings it


def test_there_are_sources() -> None:
    assert {"norm.cu", "pool.cu", "columns.cu", "softmax.cu", "sgd.cu"} <= set(SOURCES)


@pytest.mark.skipif(
    not (NVCC or HAS_NVRTC), reason="neither nvcc nor CuPy, which brings NVRTC, is on this machine"
)
@pytest.mark.parametrize("real", ["float", "double"])
@pytest.mark.parametrize("name", SOURCES)
def test_a_source_compiles_without_a_warning(tmp_path: Path, name: str, real: str) -> None:
    compiler = with_nvcc if NVCC else with_nvrtc
    assert compiler(tmp_path / name, real) == ""


PACKED = {  # kernels that are bound by memory, and move 16 bytes at once
    "columns.cu": {"swap_axes"},
    "elementwise.cu": {"relu", "relu_grad_input", "add_relu"},
    "norm.cu": {"stats_by_plane", "sums_by_plane", "batch_norm", "batch_norm_grad_x"},
    "pool.cu": {"plane_mean_by_block"},
    "sgd.cu": {"sgd"},
    "uniform.cu": {"uniform"},
}


@pytest.mark.skipif(NVCC is None, reason="nvcc, which shows the instructions, is not here")
@pytest.mark.parametrize("name", PACKED)
def test_kernels_bound_by_memory_have_loads_or_stores_of_16_bytes(
    tmp_path: Path, name: str
) -> None:
    source, made = tmp_path / name, tmp_path / "made.ptx"
    source.write_text(source_text(name))
    command = [str(NVCC), "-arch=sm_80", "-std=c++17", "-ptx", "-o", str(made), str(source)]
    subprocess.run(command, check=True)
    _, *kernels = made.read_text().split(".visible .entry ")
    wide = re.compile(r"(ld|st)\.global\.(\w+\.)*v4\.f32")
    assert {kernel.split("(")[0] for kernel in kernels if wide.search(kernel)} == PACKED[name]


def with_nvcc(source: Path, real: str) -> str:
    """What nvcc says of it, for all cards in one call."""
    source.write_text(source_text(source.name))
    command = [str(NVCC), f"-DREAL={real}", "-std=c++17", "-fatbin", "-Xcudafe"]
    command += ["--display_error_number", "-o", str(source.with_suffix(".fatbin")), str(source)]
    for card in CARDS:
        command += ["-gencode", f"arch={card.replace('sm', 'compute')},code={card}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def with_nvrtc(source: Path, real: str) -> str:
    """What NVRTC says of it."""
    from cupy.cuda import nvrtc

    log = ""
    for card in CARDS:
        program = nvrtc.createProgram(source_text(source.name), source.name, (), ())
        options = (f"--gpu-architecture={card}", f"-DREAL={real}", "-std=c++17")
        try:
            nvrtc.compileProgram(program, options)
        except nvrtc.NVRTCError:
            pytest.fail(nvrtc.getProgramLog(program))
        log += nvrtc.getProgramLog(program)
        nvrtc.destroyProgram(program)
    return log
