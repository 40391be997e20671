"""The figure of a model check shows each finding at its layer, and is legible without any."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from minires.viz.instruments.contracts import contracts_figure
from tests.viz.test_figures import assert_legible

CHECKS = ["stopped", "not finite", "cut off", "zero gradient", "block contract"]


def make_check(layers: int, findings: int, *, longest: str = "layer1.0.conv1") -> dict[str, Any]:
    names = [*(f"layer{1 + i // 40}.{i}" for i in range(layers - 1)), longest][-layers:]
    severities = ["error"] * (findings // 3) + ["warning"] * findings
    return {
        "model": "CifarResNet",
        "mode": "training",
        "checks": CHECKS,
        "layers": [{"name": name, "kind": "Conv2d", "calls": 1} for name in names],
        "findings": [
            {
                "layer": names[(7 * i + 3) % layers],
                "kind": CHECKS[i % len(CHECKS)],
                "severity": "information" if i == findings - 1 else severities[i],
                "text": "no way in the graph leads from its output back to its input "
                * (1 + i % 3),
            }
            for i in range(findings)
        ],
    }


def marks(figure: Any) -> list[tuple[float, float, str]]:
    """Place and shape of each finding."""
    return [
        (float(np.asarray(line.get_xdata())[0]), float(np.asarray(line.get_ydata())[0]), str(m))
        for line in figure.axes[0].lines
        if (m := line.get_marker()) in ("X", "^", "o") and line.get_markersize() > 5
    ]


@pytest.mark.parametrize("layers", [1, 2, 17, 85, 240])
@pytest.mark.parametrize("findings", [0, 1, 7, 40])
def test_every_text_is_inside_and_none_overlaps(layers: int, findings: int) -> None:
    assert_legible(contracts_figure(make_check(layers, findings)))


def test_long_names_and_the_model_itself_are_legible() -> None:
    data = make_check(12, 3, longest="features.stage3.unit2.branch.conv_projection_17")
    data["layers"][0]["name"] = ""
    figure = contracts_figure(data)
    assert_legible(figure)
    assert "(the model)" in [t.get_text() for t in figure.axes[0].get_xticklabels()]


def test_each_finding_is_marked_at_its_layer_and_check_by_its_severity() -> None:
    data = make_check(17, 5)
    names = [layer["name"] for layer in data["layers"]]
    shape = {"error": "X", "warning": "^", "information": "o"}
    expected = [
        (names.index(f["layer"]), CHECKS.index(f["kind"]), shape[f["severity"]])
        for f in data["findings"]
    ]
    figure = contracts_figure(data)
    assert sorted(marks(figure)) == sorted(expected)
    labels = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert {f["layer"] for f in data["findings"]} <= set(labels)


def test_the_worst_of_two_findings_at_one_place_lies_on_top() -> None:
    data = make_check(5, 2)
    data["findings"] = [
        {**data["findings"][0], "severity": severity} for severity in ("error", "information")
    ]
    assert [shape for _, _, shape in marks(contracts_figure(data))] == ["o", "X"]


def test_layers_with_findings_are_named_also_where_not_all_can_be() -> None:
    data = make_check(240, 3)
    labels = [text.get_text() for text in contracts_figure(data).axes[0].get_xticklabels()]
    assert {f["layer"] for f in data["findings"]} <= set(labels)
    assert len(labels) < 60


def test_counts_and_words_say_what_was_found() -> None:
    figure = contracts_figure(make_check(17, 9))
    words = [text.get_text() for text in figure.axes[0].texts]
    assert words == ["2 found"] * 4 + ["1 found"]
    (listed,) = [text.get_text() for text in figure.texts]
    assert listed.startswith("error, layer1.3: no way in the graph")
    assert "and 3 more, in the table" in listed
    clean = contracts_figure(make_check(17, 0))
    assert [text.get_text() for text in clean.axes[0].texts] == ["none"] * 5
    assert "nothing found" in clean.axes[0].get_title(loc="left")


def test_layers_that_did_not_run_have_no_dots() -> None:
    data = make_check(5, 0)
    data["layers"][4]["calls"] = 0
    dots = [line for line in contracts_figure(data).axes[0].lines if line.get_markersize() < 3]
    assert len(dots) == len(CHECKS)
    assert all(np.asarray(line.get_xdata()).tolist() == [0, 1, 2, 3] for line in dots)


def test_the_alternative_text_has_kinds_and_layers_and_the_data_are_left_alone() -> None:
    data = make_check(30, 12)
    before = copy.deepcopy(data)
    figure = contracts_figure(data)
    assert data == before
    assert "5 checks on 30 layers" in figure.alt  # type: ignore[attr-defined]
    assert "12 findings" in figure.alt  # type: ignore[attr-defined]
    assert "stopped: layer1.3, layer1.8 and layer1.13" in figure.alt  # type: ignore[attr-defined]
    assert figure._repr_png_()[0].startswith(b"\x89PNG")  # type: ignore[attr-defined]


def test_an_empty_dictionary_gives_an_empty_figure() -> None:
    assert_legible(contracts_figure({}))
