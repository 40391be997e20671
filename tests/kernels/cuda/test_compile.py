"""Every CUDA source compiles for the cards in use, where a CUDA compiler is at hand."""

from __future__ import annotations

import importlib.util
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
@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("name", SOURCES)
def test_a_source_compiles_without_a_warning(
    tmp_path: Path, name: str, card: str, real: str
) -> None:
    compiler = with_nvcc if NVCC else with_nvrtc
    assert compiler(tmp_path / name, card, real) == ""


def with_nvcc(source: Path, card: str, real: str) -> str:
    """What nvcc says of it."""
    source.write_text(source_text(source.name))
    command = [str(NVCC), f"-arch={card}", f"-DREAL={real}", "-std=c++17", "-cubin", "-Xcudafe"]
    command += ["--display_error_number", "-o", str(source.with_suffix(".cubin")), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


def with_nvrtc(source: Path, card: str, real: str) -> str:
    """What NVRTC says of it."""
    from cupy.cuda import nvrtc

    program = nvrtc.createProgram(source_text(source.name), source.name, (), ())
    options = (f"--gpu-architecture={card}", f"-DREAL={real}", "-std=c++17")
    try:
        nvrtc.compileProgram(program, options)
    except nvrtc.NVRTCError:
        pytest.fail(nvrtc.getProgramLog(program))
    log: str = nvrtc.getProgramLog(program)
    nvrtc.destroyProgram(program)
    return log
