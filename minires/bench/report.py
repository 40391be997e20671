"""What a benchmark found: its tables, and everything as plain data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from statistics import median
from typing import TYPE_CHECKING, Any

from minires.bench.gpu_report import bandwidth_section, networks_section
from minires.bench.measurement import Measurement
from minires.bench.report_text import Section, fixed, mb, ms, spread, with_failures
from minires.bench.workloads import CHAIN_LENGTH
from minires.result import Result
from minires.table import Cell, format_table, html_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Bench", "Section"]

_REFERENCE_DEPTH = 110


@dataclass
class Bench(Result):
    """Everything that one run measured.

    Attributes:
        machine: processor, cores, platform and date.
        threads, repeat: of each side, and rounds.
        labels: what the sides are called in tables.
        versions: of each side that was there, and of its Python, NumPy and BLAS.
        absent: why a side was not there.
        measurements: one for each workload, in order.
        interrupted: whether it ended early.
        device: 'cpu', or the GPU that did the work.
    """

    machine: dict[str, Any]
    threads: int
    repeat: int
    labels: dict[str, str] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    measurements: list[Measurement] = field(default_factory=list)
    interrupted: bool = False
    device: str = "cpu"

    @property
    def failed(self) -> list[Measurement]:
        """The workloads that could not be measured."""
        return [m for m in self.measurements if m.failure is not None]

    def caption(self) -> str:
        """What was measured, and on what."""
        others = [self._version("pytorch"), self._version("chainer") * self._has_chainer()]
        beside = " and ".join(name for name in others if name)
        rounds = "1 round" if self.repeat == 1 else f"{self.repeat} rounds"
        if self.device != "cpu":
            ours = self.versions.get("minires", {})
            return (
                f"{self._version('minires')} (CuPy {ours.get('cupy')})"
                f"{f' beside {beside}' if beside else ''} on {ours.get('gpu')}, float32 without "
                f"TF32, timed by CUDA events: medians of {rounds} in turn; ratio = minires / "
                "PyTorch."
            )
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return (
            f"{self._version('minires')}{f' beside {beside}' if beside else ''} on "
            f"{self.machine['cpu']}, {threads}, float32: medians of {rounds} in turn; ratio = "
            "minires / PyTorch."
        )

    def _version(self, side: str) -> str:
        version = self.versions.get(side, {}).get(side)
        return f"{self.labels.get(side, side)} {version}" if version else ""

    def _has_chainer(self) -> bool:
        return any("chainer" in m.times for m in self.measurements)

    def sections(self) -> list[Section]:
        """Title, headers and rows of each table that has rows."""
        if self.device != "cpu":
            tables = [
                networks_section([m for m in self.measurements if m.workload.kind == "network"]),
                bandwidth_section(self._of("bandwidth")),
            ]
            return [table for table in tables if table[2]]
        makers: list[Callable[[], Section]] = [
            self._times_section,
            self._depth_section,
            self._overhead_section,
            self._accuracy_section,
        ]
        return [section for section in (make() for make in makers) if section[2]]

    def rows(self) -> tuple[list[str], list[list[Cell]]]:
        """The table of times; without such workloads, the first one that there is."""
        sections = self.sections() or [self._times_section()]
        return sections[0][1], sections[0][2]

    def details(self) -> list[str]:
        """The engine's overhead and the ratios, summed up."""
        lines = []
        chains = [(m.overhead(), m.workload.spec["operation"]) for m in self._of("engine-overhead")]
        known = [(value, name) for value, name in chains if value is not None]
        if known:
            middle, (largest, name) = median(value for value, _ in known), max(known)
            lines.append(
                f"engine overhead: median {_us(middle)} us, largest {_us(largest)} us ({name})"
            )
        steps = [m for m in self._of(None) if m.workload.kind != "import"]
        ratios = [r for m in steps if (r := m.ratio("pytorch")) is not None]
        if len(ratios) > 1:
            slower = sum(ratio > 1 for ratio in ratios)
            lines.append(
                f"ratio: median {median(ratios):.2f} over {len(ratios)} workloads; minires is the "
                f"slower one in {slower} of them"
            )
        return lines

    def __str__(self) -> str:
        parts = [self.caption()]
        for title, headers, rows in self.sections():
            parts.append("\n".join([title, format_table(headers, rows)]))
        return "\n\n".join([*parts, *(["\n".join(self.details())] if self.details() else [])])

    def _repr_html_(self) -> str:
        tables = [html_table(h, rows, caption=title) for title, h, rows in self.sections()]
        texts = [f"<p>{escape(line)}</p>" for line in (self.caption(), *self.details())]
        return "\n".join([texts[0], *tables, *texts[1:]])

    def plot(self) -> Figure:
        """The ratios as bars on a logarithmic axis, from 1: to the left minires is faster."""
        from minires.viz import style
        from minires.viz.canvas import new_figure

        style.import_matplotlib()
        ratios = [(m.workload.name, m.ratio("pytorch")) for m in self.measurements]
        known = [(name, ratio) for name, ratio in ratios if ratio is not None]
        with style.context():
            figure = new_figure(7.0, 1.0 + 0.22 * len(known))
            figure.set_layout_engine("constrained")
            axes = figure.subplots()
            axes.barh([name for name, _ in known], [ratio - 1 for _, ratio in known], left=1.0)
            axes.set_xscale("log")
            axes.axvline(1.0, color="black", linewidth=0.8)
            axes.invert_yaxis()
            axes.set_xlabel("time of minires / time of PyTorch")
            figure.alt = self.caption()
        return figure

    def line(self, measured: Measurement) -> str:
        """One line on one workload, for the progress."""
        name = measured.workload.name
        if measured.failure is not None:
            return f"{name}  failed: {measured.failure}"
        if measured.errors:
            return f"{name}  " + ", ".join(
                f"{self.labels[side]} {errors['forward']['rms']:.1e}"
                for side, errors in measured.errors.items()
            )
        times = [f"{self.labels[side]} {ms(measured.seconds(side))} ms" for side in measured.times]
        ratio = measured.ratio("pytorch")
        return "  ".join([name, *times, *([f"ratio {ratio:.2f}"] if ratio is not None else [])])

    def to_dict(self) -> dict[str, Any]:
        """All numbers as plain data."""
        return {
            "machine": self.machine,
            "threads": self.threads,
            "repeat": self.repeat,
            "device": self.device,
            "versions": self.versions,
            "absent": self.absent,
            "interrupted": self.interrupted,
            "workloads": [measured.to_dict() for measured in self.measurements],
        }

    # --- the tables ---

    def _of(self, group: str | None) -> list[Measurement]:
        """Those of a group; with None those of the table of times."""
        own = ("depth-scaling", "engine-overhead", "accuracy", "bandwidth")
        if group is None:
            return [m for m in self.measurements if m.workload.group not in own]
        return [m for m in self.measurements if m.workload.group == group]

    def _times_section(self) -> Section:
        found = self._of(None)
        headers = ["workload", "minires (ms)", "PyTorch (ms)", "ratio", "from..to"]
        headers += ["minires (MB)", "PyTorch (MB)", "ratio (MB)"]
        chainer = self._has_chainer()
        rows: list[list[Cell]] = []
        for m in found:
            row: list[Cell] = [
                m.workload.name,
                ms(m.seconds("minires")),
                ms(m.seconds("pytorch")),
            ]
            row += [fixed(m.ratio("pytorch")), spread(m.ratios("pytorch"))]
            row += [mb(m.peak_mb.get("minires")), mb(m.peak_mb.get("pytorch"))]
            row.append(fixed(m.memory_ratio("pytorch")))
            if chainer:
                row.append(ms(m.seconds("chainer")))
            rows.append(row)
        headers += ["Chainer (ms)"] * chainer
        title = "Time of a step, and peak memory of the process with the framework in it"
        return title, *with_failures(headers, rows, found)

    def _depth_section(self) -> Section:
        found = self._of("depth-scaling")
        headers, sides = ["depth", "blocks"], ("minires", "pytorch")
        for side in sides:
            label = self.labels.get(side, side)
            headers += [f"{label} (s)", "ms a block", "growth", "MB", "MB a block"]
        rows: list[list[Cell]] = []
        for m in found:
            blocks = _blocks(m)
            row: list[Cell] = [m.workload.spec["depth"], blocks]
            for side in sides:
                seconds, memory = m.seconds(side), m.working_mb(side)
                row += [
                    None if seconds is None else f"{seconds:.3f}",
                    None if seconds is None else f"{1e3 * seconds / blocks:.3f}",
                    fixed(self._growth(m, side)),
                    mb(m.peak_mb.get(side)),
                    None if memory is None else f"{memory / blocks:.3f}",
                ]
            rows.append([*row, fixed(m.ratio("pytorch"))])
        title = (
            "Depth: a training step, batch 16, width 8, 8x8 images; growth = time of a block "
            f"against depth {_REFERENCE_DEPTH}; MB a block beyond the framework's own"
        )
        return title, *with_failures([*headers, "ratio"], rows, found)

    def _growth(self, measured: Measurement, side: str) -> float | None:
        seconds = measured.seconds(side)
        for other in self._of("depth-scaling"):
            base = other.seconds(side)
            if other.workload.spec["depth"] == _REFERENCE_DEPTH and seconds and base:
                return seconds / _blocks(measured) / (base / _blocks(other))
        return None

    def _overhead_section(self) -> Section:
        found = self._of("engine-overhead")
        headers = ["operation", "minires (us)", "bare NumPy (us)", "overhead (us)", "PyTorch (us)"]
        rows: list[list[Cell]] = [
            [
                m.workload.spec["operation"],
                _us(m.seconds("minires")),
                _us(m.seconds("numpy")),
                _us(m.overhead()),
                _us(m.seconds("pytorch")),
            ]
            for m in found
        ]
        title = "Engine: one operation on a tiny tensor, forward and backward"
        return title, *with_failures(headers, rows, found)

    def _accuracy_section(self) -> Section:
        headers = ["convolution", "quantity", "minires rms", "PyTorch rms", "ratio"]
        headers += ["minires max", "PyTorch max", "ratio (max)"]
        rows: list[list[Cell]] = []
        measured: list[Measurement] = []
        for m in self._of("accuracy"):
            name = m.workload.name.removeprefix("accuracy-")
            theirs = m.errors.get("pytorch", {})
            for quantity, ours in m.errors.get("minires", {"-": {}}).items():
                row: list[Cell] = [name, quantity]
                for kind in ("rms", "max"):
                    a, b = ours.get(kind), theirs.get(quantity, {}).get(kind)
                    row += [_short(a), _short(b), fixed(a / b if a and b else None)]
                rows.append(row)
                measured.append(m)
        title = "Accuracy: relative error of float32 against float64, for at most 8 of the images"
        return title, *with_failures(headers, rows, measured)


def _blocks(measured: Measurement) -> int:
    return int(measured.workload.spec["depth"] - 2) // 2


def _us(seconds: float | None) -> str | None:
    """Of a step of a chain: microseconds for one operation of it."""
    return None if seconds is None else f"{1e6 * seconds / CHAIN_LENGTH:.2f}"


def _short(value: float | None) -> str | None:
    return None if value is None else f"{value:.1e}"
