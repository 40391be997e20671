"""Medians, ratios and tables, from numbers that are known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from minires.bench import Bench, Measurement, Workload, choose

MACHINE = {"cpu": "a processor", "cores": 2, "cores_available": 2, "platform": "p", "date": "d"}


def measured(name: str, ours: list[float], theirs: list[float], **more: Any) -> Measurement:
    (workload,) = choose([name])
    times = {"minires": [[t] for t in ours], "pytorch": [[t] for t in theirs]}
    return Measurement(workload, times, **more)


def report(*measurements: Measurement, **more: Any) -> Bench:
    labels = {"minires": "minires", "pytorch": "PyTorch", "numpy": "NumPy", "chainer": "Chainer"}
    versions = {"minires": {"minires": "0.1.0"}, "pytorch": {"pytorch": "9.9"}}
    return Bench(MACHINE, 2, 3, labels, versions, measurements=list(measurements), **more)


def cells(line: str) -> list[str]:
    return line.split()


def test_the_ratio_is_the_median_of_the_ratios_of_the_rounds() -> None:
    """Not the ratio of the medians, which mixes rounds: here that would be 1."""
    found = measured("pool-global", [1.0, 2.0, 9.0], [2.0, 1.0, 3.0])
    assert found.ratios("pytorch") == [0.5, 2.0, 3.0]
    assert found.ratio("pytorch") == 2.0
    assert found.to_dict()["ratios"]["pytorch"] == {
        "median": 2.0,
        "min": 0.5,
        "max": 3.0,
        "rounds": [0.5, 2.0, 3.0],
    }


def test_a_round_is_the_median_of_its_steps() -> None:
    found = Measurement(Workload("w", "conv", {}, 3), {"minires": [[9.0, 1.0, 2.0], [4.0] * 3]})
    assert found.rounds("minires") == [2.0, 4.0]
    assert found.seconds("minires") == 3.0
    assert found.to_dict()["times"] == {"minires": [[9.0, 1.0, 2.0], [4.0] * 3]}


def test_the_table_of_times() -> None:
    memory = {"minires": 50.0, "pytorch": 200.0}
    text = str(report(measured("pool-global", [0.1, 0.2, 0.4], [0.1, 0.1, 0.1], peak_mb=memory)))
    title, header, _, row = text.splitlines()[2:6]
    assert text.startswith("minires 0.1.0 beside PyTorch 9.9 on a processor, 2 threads, float32")
    assert title.startswith("Time of a step")
    assert header.split("  ")[0] == "workload"
    assert cells(row) == [
        *("pool-global", "200.0", "100.0", "2.00", "1.00..4.00", "50", "200", "0.25")
    ]


def test_without_pytorch_its_columns_are_empty() -> None:
    (workload,) = choose(["pool-global"])
    found = report(Measurement(workload, {"minires": [[0.5]]}, peak_mb={"minires": 50.0}))
    assert cells(str(found).splitlines()[5])[1:] == ["500.0", "-", "-", "-", "50", "-", "-"]


def test_a_failure_is_a_remark_in_its_row() -> None:
    (workload,) = choose(["pool-avg-k2s2"])
    failed = Measurement(workload, failure="no luck")
    found = report(measured("pool-global", [1.0], [1.0]), failed)
    assert found.failed == [failed]
    assert str(found).splitlines()[6].endswith("failed: no luck")
    assert found.line(failed) == "pool-avg-k2s2  failed: no luck"


def test_chainer_has_a_column_only_where_it_was_measured() -> None:
    one = measured("pool-global", [1.0], [1.0])
    assert "Chainer" not in str(report(one))
    one.times["chainer"] = [[5.0]]
    headers, (row,) = report(one).rows()
    assert headers[-1] == "Chainer (ms)"
    assert row[-1] == "5000.0"


def test_the_table_of_depths_counts_by_the_block() -> None:
    def deep(depth: int, seconds: float) -> Measurement:
        base, peak = {"minires": 40.0, "pytorch": 200.0}, {"minires": 67.0, "pytorch": 254.0}
        name = f"depth-scaling-d{depth}"
        return measured(name, [seconds], [seconds / 2], base_mb=base, peak_mb=peak)

    found = report(deep(56, 0.27), deep(110, 0.54), deep(218, 2.16))
    lines = str(found).splitlines()
    assert lines[2].startswith("Depth")
    assert cells(lines[5]) == [
        *("56", "27", "0.270", "10.000", "1.00", "67", "1.000"),
        *("0.135", "5.000", "1.00", "254", "2.000", "2.00"),
    ]
    assert cells(lines[7])[:5] == ["218", "108", "2.160", "20.000", "2.00"]


def test_the_engines_overhead_is_what_the_bare_calls_leave() -> None:
    add, mul = (measured(f"engine-overhead-{n}", [2e-3], [1e-3]) for n in ("add", "mul"))
    add.times["numpy"], mul.times["numpy"] = [[1e-3]], [[2e-4]]
    found = report(add, mul)
    lines = str(found).splitlines()
    assert cells(lines[5]) == ["add", "10.00", "5.00", "5.00", "5.00"]
    assert lines[-1] == "engine overhead: median 7.00 us, largest 9.00 us (mul)"
    assert add.to_dict()["overhead_seconds"] == pytest.approx(1e-3)


def test_the_table_of_errors() -> None:
    (workload,) = choose(["accuracy-n64-c8-o8-h8"])
    ours, theirs = {"rms": 1e-7, "max": 1e-6}, {"rms": 2e-7, "max": 5e-7}
    found = report(
        Measurement(workload, errors={"minires": {"grad_x": ours}, "pytorch": {"grad_x": theirs}})
    )
    assert cells(str(found).splitlines()[5]) == [
        *("n64-c8-o8-h8", "grad_x", "1.0e-07", "2.0e-07", "0.50", "1.0e-06", "5.0e-07", "2.00")
    ]


def test_all_numbers_are_plain_data() -> None:
    found = report(measured("pool-global", [1.0], [2.0]), interrupted=True)
    data = json.loads(json.dumps(found.to_dict()))
    assert list(data) == [
        *("machine", "threads", "repeat", "device", "versions", "absent", "interrupted"),
        "workloads",
    ]
    assert data["interrupted"] is True
    assert set(data["workloads"][0]) == {
        *("name", "group", "kind", "spec", "steps", "failure", "parameters", "times", "seconds"),
        *("ratios", "overhead_seconds", "base_mb", "peak_mb", "launches", "memory_ratios"),
        *("errors", "disagreement"),
    }


def test_it_shows_itself_in_a_notebook() -> None:
    found = report(measured("pool-global", [1.0], [2.0]), measured("import", [1.0], [2.0]))
    assert found._repr_html_().count("<table>") == 1
    figure = found.plot()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [
        *("pool-global", "import")
    ]
    figure.canvas.draw()
