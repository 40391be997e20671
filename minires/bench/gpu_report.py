"""The tables of what was measured on a GPU."""

from __future__ import annotations

from collections.abc import Sequence

from minires.bench.gpu_workloads import copied_bytes
from minires.bench.measurement import Measurement
from minires.bench.report_text import Section, fixed, mb, ms, spread, with_failures
from minires.table import Cell

__all__ = ["bandwidth_section", "gigabytes_a_second", "images_a_second", "networks_section"]


def images_a_second(measured: Measurement, side: str) -> float | None:
    """Of a network: the batch over the time of a step."""
    seconds = measured.seconds(side)
    return measured.workload.spec["shape"][0] / seconds if seconds else None


def gigabytes_a_second(measured: Measurement, side: str = "minires") -> float | None:
    """At which rate a kernel moves what it must move (10^9 bytes); side 'cupy' is the bare copy."""
    seconds, spec = measured.seconds(side), measured.workload.spec
    moved = copied_bytes(spec) if side == "cupy" else spec["bytes"]
    return moved / seconds / 1e9 if seconds else None


def share_of_copy(measured: Measurement) -> float | None:
    """The rate of our kernel over that of the bare copy."""
    ours, copy = gigabytes_a_second(measured), gigabytes_a_second(measured, "cupy")
    return ours / copy if ours and copy else None


def networks_section(found: Sequence[Measurement]) -> Section:
    """Images a second, peak memory of a step, and what the card was told to do in it."""
    headers = ["workload", "minires (images/s)", "PyTorch (images/s)", "ratio of times", "from..to"]
    headers += ["minires (MB)", "PyTorch (MB)", "minires (launches)", "PyTorch (launches)"]
    rows: list[list[Cell]] = []
    for m in found:
        rates = [images_a_second(m, side) for side in ("minires", "pytorch")]
        row: list[Cell] = [m.workload.name, *(r if r is None else f"{r:.0f}" for r in rates)]
        row += [fixed(m.ratio("pytorch")), spread(m.ratios("pytorch"))]
        row += [mb(m.peak_mb.get(side)) for side in ("minires", "pytorch")]
        row += [m.launches.get(side) for side in ("minires", "pytorch")]
        rows.append(row)
    title = (
        "Networks: a step, peak memory that the framework's pool takes from the card for it, and "
        "its launches (kernels, copies and fills)"
    )
    return title, *with_failures(headers, rows, found)


def bandwidth_section(found: Sequence[Measurement]) -> Section:
    """How near the kernels that memory limits come to a bare copy."""
    headers = ["workload", "minires (ms)", "GB", "GB/s", "copy (GB/s)", "share of copy"]
    headers += ["PyTorch (ms)", "ratio of times"]
    rows: list[list[Cell]] = []
    for m in found:
        rates = [gigabytes_a_second(m, side) for side in ("minires", "cupy")]
        share = share_of_copy(m)
        rows.append(
            [
                *(m.workload.name, ms(m.seconds("minires"))),
                f"{m.workload.spec['bytes'] / 1e9:.2f}",
                *(rate if rate is None else f"{rate:.0f}" for rate in rates),
                share if share is None else f"{100 * share:.0f}%",
                *(ms(m.seconds("pytorch")), fixed(m.ratio("pytorch"))),
            ]
        )
    title = "Bandwidth: the bytes that minires's kernels must move, against a bare copy on the card"
    return title, *with_failures(headers, rows, found)
