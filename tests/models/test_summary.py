"""The summary: what runs, in which order, with which shapes and sizes; and no trace."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

import minires as mr
from minires import nn
from minires.errors import ShapeError
from minires.models import Summary, summary


def small() -> nn.Sequential:
    mr.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(3 * 2 * 2, 5),
    )


class Texts(HTMLParser):
    """Cells, row by row, the caption, and how deep the tags are nested at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.caption = ""
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)
        elif self.open and self.open[-1] == "caption":
            self.caption += data


def test_layers_stand_in_the_order_in_which_they_run_with_their_sizes() -> None:
    found = summary(small(), (2, 4, 4))
    rows = [
        (layer.name, layer.kind, layer.output_shape, layer.parameters, layer.multiply_adds)
        for layer in found.layers
    ]
    assert rows == [
        ("0", "Conv2d", (1, 3, 4, 4), 3 * 2 * 9 + 3, 3 * 4 * 4 * (2 * 9)),
        ("1", "BatchNorm2d", (1, 3, 4, 4), 6, 0),
        ("2", "ReLU", (1, 3, 4, 4), 0, 0),
        ("3", "MaxPool2d", (1, 3, 2, 2), 0, 0),
        ("4", "Flatten", (1, 12), 0, 0),
        ("5", "Linear", (1, 5), 12 * 5 + 5, 12 * 5),
    ]
    assert found.model == "Sequential"
    assert found.input_shape == (1, 2, 4, 4)
    assert found.parameters == 57 + 6 + 65
    assert found.multiply_adds == 864 + 60


def test_four_numbers_are_the_shape_of_a_batch() -> None:
    one, batch = summary(small(), (2, 4, 4)), summary(small(), (8, 2, 4, 4))
    assert batch.layers[0].output_shape == (8, 3, 4, 4)
    assert batch.multiply_adds == 8 * one.multiply_adds
    assert batch.parameters == one.parameters


def test_groups_and_strides_are_counted_by_what_each_output_reads() -> None:
    found = summary(nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, groups=2)), (4, 9, 9))
    assert found.multiply_adds == 6 * 4 * 4 * (2 * 9)


def test_a_network_lists_shortcuts_and_sums_up_its_layers() -> None:
    model = mr.models.cifar_resnet(8, width=2)
    found = summary(model, (3, 8, 8))
    names = [layer.name for layer in found.layers]
    assert names[:6] == [
        "conv1",
        "bn1",
        "layer1.0.conv1",
        "layer1.0.bn1",
        "layer1.0.conv2",
        "layer1.0.bn2",
    ]
    assert names[-1] == "fc"
    assert names.count("layer2.0.downsample") == 1
    assert sum(layer.parameters for layer in found.layers) == found.parameters
    assert found.parameters == sum(p.numel() for p in model.parameters())


def test_a_layer_used_twice_has_one_row_with_the_work_of_both() -> None:
    layer = nn.Linear(3, 3)
    found = summary(nn.Sequential(layer, nn.ReLU(), layer), (1, 1, 2, 3))
    assert [entry.kind for entry in found.layers] == ["Linear", "ReLU"]
    assert found.layers[0].multiply_adds == found.multiply_adds == 2 * 2 * 9
    assert found.layers[0].parameters == found.parameters == 12


def test_a_parameter_that_two_layers_share_is_counted_in_the_first_row() -> None:
    one, other = nn.Linear(3, 3), nn.Linear(3, 3)
    other.weight = one.weight
    found = summary(nn.Sequential(one, other), (1, 1, 2, 3))
    assert [entry.parameters for entry in found.layers] == [12, 3]
    assert found.parameters == 15


def test_a_gate_that_runs_for_both_ways_has_one_row() -> None:
    one, both = (
        summary(mr.models.cifar_resnet(8, width=2, skip=f"{kind}-gating"), (3, 8, 8))
        for kind in ("shortcut-only", "exclusive")
    )
    gate = "layer1.0.downsample.gate"
    assert [layer.name for layer in both.layers].count(gate) == 1
    assert sum(layer.parameters for layer in both.layers) == both.parameters == one.parameters
    once, twice = (
        next(layer.multiply_adds for layer in found.layers if layer.name == gate)
        for found in (one, both)
    )
    assert twice == 2 * once == 2 * 64 * 2 * 2
    assert both.multiply_adds == one.multiply_adds + once


def test_a_single_layer_is_named_after_its_kind() -> None:
    assert [layer.name for layer in summary(nn.ReLU(), (1, 2, 2)).layers] == ["ReLU"]


def test_a_float64_model_is_given_float64() -> None:
    seen: list[Any] = []
    model = small().to("float64")
    model[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].dtype))
    summary(model, (2, 4, 4))
    assert seen == [np.float64]


def test_the_model_is_left_as_it_was() -> None:
    model = small()
    model[2].eval()
    modes = [m.training for m in model.modules()]
    hooks = [dict(m._forward_hooks) for m in model.modules()]
    before = {name: value.tobytes() for name, value in model.state_dict().items()}
    summary(model, (2, 4, 4))
    assert [m.training for m in model.modules()] == modes
    assert [dict(m._forward_hooks) for m in model.modules()] == hooks
    assert {name: value.tobytes() for name, value in model.state_dict().items()} == before
    assert all(p.grad is None for p in model.parameters())


def test_the_model_is_left_as_it_was_when_the_shape_does_not_fit() -> None:
    model = small()
    with pytest.raises(ShapeError):
        summary(model, (3, 4, 4))
    assert all(m.training for m in model.modules())
    assert not any(m._forward_hooks for m in model.modules())


def test_the_table_ends_with_the_total() -> None:
    lines = summary(small(), (2, 4, 4)).table().splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "multiply-adds"]
    assert lines[2].split() == ["0", "Conv2d", "1", "x", "3", "x", "4", "x", "4", "57", "864"]
    assert lines[-1].split() == ["total", "128", "924"]
    assert len(lines) == 2 + 6 + 1


def test_numbers_are_grouped_by_thousands() -> None:
    table = summary(mr.models.cifar_resnet(20), (3, 32, 32)).table()
    assert table.splitlines()[-1].split() == ["total", "269,722", "40,551,040"]


def test_printing_shows_the_table_under_a_line_with_model_and_input() -> None:
    found = summary(small(), (2, 4, 4))
    assert str(found) == f"Sequential on (1, 2, 4, 4)\n{found.table()}"


def test_to_dict_is_json_with_every_layer_and_a_copy() -> None:
    found = summary(small(), (2, 4, 4))
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["model"] == "Sequential"
    assert data["input_shape"] == [1, 2, 4, 4]
    assert (data["parameters"], data["multiply_adds"]) == (128, 924)
    assert data["layers"][5] == {
        "name": "5",
        "kind": "Linear",
        "output_shape": [1, 5],
        "parameters": 65,
        "multiply_adds": 60,
    }
    found.to_dict()["layers"][0]["parameters"] = 0
    assert found.layers[0].parameters == 57


def test_notebooks_show_a_whole_html_table_with_its_caption_escaped_once() -> None:
    found = summary(small(), (2, 4, 4))
    page = Texts()
    page.feed(Summary("A<B & C", found.input_shape, found.layers, 128, 924)._repr_html_())
    page.close()
    assert page.open == []
    assert page.caption == "A<B & C on (1, 2, 4, 4)"
    assert page.rows[0] == ["layer", "kind", "output", "parameters", "multiply-adds"]
    assert len(page.rows) == 8
    assert page.rows[1] == ["0", "Conv2d", "1 x 3 x 4 x 4", "57", "864"]


class Scaled(nn.Module):
    """A layer that gives two outputs, and a scale of its own beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.scale = nn.Parameter(np.ones(3, np.float32))
        self.register_parameter("shift", None)

    def forward(self, x: Any) -> Any:
        out, indices = self.pool(x)
        return {"out": out * self.scale[0], "indices": indices}


def test_several_outputs_show_the_first_and_own_parameters_have_a_row() -> None:
    found = summary(Scaled(), (2, 4, 4))
    assert [(layer.name, layer.output_shape, layer.parameters) for layer in found.layers] == [
        ("pool", (1, 2, 2, 2), 0),
        ("Scaled", (1, 2, 2, 2), 3),
    ]
    assert found.parameters == sum(layer.parameters for layer in found.layers) == 3
