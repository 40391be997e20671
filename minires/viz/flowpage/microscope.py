"""The drawing with its controls: the part of the page that the script brings to life."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from minires.table import NOT_MEASURED, Cell, html_table
from minires.viz.flowpage.drawing import drawing_key, network_drawing
from minires.viz.flowpage.number_tables import details
from minires.viz.flowpage.views import Numbers, Scale, View, longest_stack, make_scale, shape_text

__all__ = ["microscope"]

Network = Mapping[str, Any]

# What is said of a block: a quantity, its name, and how it is written.
_QUANTITIES = (
    ("grad_norm", "gradient at the input", "number"),
    ("grad_rms", "the same as rms", "number"),
    ("skip_norm", "back over the skip", "number"),
    ("branch_norm", "back through the branch", "number"),
    ("share", "share of the skip", "percent"),
    ("cosine", "cosine of skip and branch", "number"),
    ("growth", "growth through this block", "times"),
    ("since_last", "growth since the last block", "times"),
    ("forward_ratio", "|F| / |S| on the way forward", "number"),
)


def microscope(networks: Sequence[Network], views: Sequence[View]) -> str:
    """The section of the drawing: controls, hidden until the script wakes them, picture, tables."""
    scale = make_scale(views)
    blocks = len(longest_stack(networks))
    parts = [
        '<section id="microscope" aria-labelledby="network">'
        '<h2 id="network">The network, and the gradient in it</h2>',
        "<p>The gradient enters at the head, on the right, and travels back to the stem. At the "
        "sum of a residual block (⊕) it takes both ways: over the skip, the arc, and through the "
        "branch F. At the fork (●) the two parts are added. A plain block has one way only.</p>",
    ]
    live = any(view.measured for view in views)
    if live:
        parts.append(
            '<noscript><p class="remark">Without script the picture stands still; the numbers of '
            "every block are in the tables below it.</p></noscript>"
        )
        parts.append(_controls(views, blocks))
    parts += [_card(networks, view, scale) for view in views]
    if live:
        parts.append(_readout(networks))
    parts.append(drawing_key(networks, scale if live else None))
    for view in views:
        if view.measured and view.key != "training":
            title = view.title[0].lower() + view.title[1:]
            pairs = zip(networks, view.moments[0].numbers, strict=True)
            tables = [_table(network, numbers, title) for network, numbers in pairs]
            parts.append(details(f"Numbers of every block, {title}", "\n".join(tables)))
    if live:
        data = json.dumps(_data(networks, views, scale), allow_nan=False, separators=(",", ":"))
        # No "<" may stand in it: "</script>" in a name would end the element.
        data = data.replace("<", "\\u003c")
        parts.append(f'<script type="application/json" id="flow-data">{data}</script>')
    return "\n".join([*parts, "</section>"])


def _controls(views: Sequence[View], blocks: int) -> str:
    choices = "".join(
        f'<label><input type="radio" name="view" value="{view.key}" autocomplete="off"'
        f"{' checked' * (i == 0)}>{escape(view.title)}</label>"
        for i, view in enumerate(views)
    )
    switch = f'<fieldset class="switch"><legend>Moment</legend>{choices}</fieldset>'
    training = next((view for view in views if view.key == "training"), None)
    steps = 0 if training is None else len(training.moments)
    step_slider = f"""
<div class="slider" id="steps" hidden>
<label for="step">Training step</label> <span id="step-text" aria-hidden="true"></span>
<input type="range" id="step" min="0" max="{steps - 1}" value="0" autocomplete="off">
<div class="buttons"><button type="button" id="train">Play training</button></div>
</div>""" * (steps > 0)
    return f"""<div class="bench" hidden>
<div class="controls">
{switch * (len(views) > 1)}
<div class="slider">
<label for="block">Block</label> <span id="block-text" aria-hidden="true"></span>
<input type="range" id="block" min="1" max="{blocks}" value="{blocks}" autocomplete="off">
<p class="ends" aria-hidden="true"><span>stem</span><span>← gradient</span><span>head</span></p>
<div class="buttons"><button type="button" id="back">Back one block</button>
<button type="button" id="walk">Walk back</button></div>
</div>{step_slider}
<p id="said" role="status" aria-live="polite"></p>
</div>
</div>"""


def _readout(networks: Sequence[Network]) -> str:
    """The numbers of the block that was chosen, below the drawing, so that both are in sight."""
    heads = "".join(
        f'<th scope="col" class="number">{escape(str(n.get("name")))}</th>' for n in networks
    )
    rows = [("loss", "loss of the batch", "number"), *_QUANTITIES]
    lines = "\n".join(
        f'<tr data-quantity="{key}" data-form="{form}"><th scope="row">{escape(name)}</th>'
        + f'<td class="number">{NOT_MEASURED}</td>' * len(networks)
        + "</tr>"
        for key, name, form in rows
    )
    return f"""<div class="bench" hidden>
<table id="readout"><thead><tr><th scope="col">of this block</th>{heads}</tr></thead>
<tbody>
{lines}
</tbody></table>
</div>"""


def _card(networks: Sequence[Network], view: View, scale: Scale) -> str:
    """A drawing; that of the recording is for the script alone, which moves it along the steps."""
    hidden = " hidden" if view.key == "training" else ""
    return (
        f'<div class="drawing" data-view="{view.key}"{hidden}>'
        f'<h3>{escape(view.title)}<span class="when"></span></h3>'
        f'<div class="card" tabindex="0" role="group" aria-label="Drawing: {escape(view.title)}">'
        f"{network_drawing(networks, view, scale)}</div></div>"
    )


def _table(network: Network, numbers: Numbers, title: str) -> str:
    """All blocks of a network, without the columns in which nothing was measured."""
    blocks = list(network.get("blocks") or ())
    headers = ["name", "block", "output"]
    columns: list[list[Cell]] = [
        [str(block.get("name")) for block in blocks],
        list(range(1, len(blocks) + 1)),
        [shape_text(block.get("shape")) for block in blocks],
    ]
    for key, name, form in _QUANTITIES:
        if any(value is not None for value in numbers[key]):
            headers.append(name)
            columns.append([_written(value, form) for value in numbers[key]])
    rows = [list(row) for row in zip(*columns, strict=True)]
    caption = f"{network.get('name')}, {title}"
    table = html_table(headers, rows, caption=caption)
    return (
        f'<div class="scroll blocks" tabindex="0" role="group" aria-label="{escape(caption)}">'
        f"{table}</div>"
    )


def _written(value: float | None, form: str) -> Cell:
    if value is None or form == "number":
        return value
    return f"{100 * value:.1f}%" if form == "percent" else f"{value:.4g}"


def _data(networks: Sequence[Network], views: Sequence[View], scale: Scale) -> dict[str, Any]:
    """What the script needs: names, the scale of the widths, and every number that it can show."""
    keys = [key for key, _, _ in _QUANTITIES]
    return {
        "scale": vars(scale),
        "networks": [
            {
                "name": network.get("name"),
                "blocks": [
                    {
                        "name": block.get("name"),
                        "shape": shape_text(block.get("shape")),
                        "shortcut": block.get("shortcut"),
                    }
                    for block in network.get("blocks") or ()
                ],
            }
            for network in networks
        ],
        "views": {
            view.key: [
                {
                    "step": moment.step,
                    "networks": [
                        {"loss": loss, **{key: numbers[key] for key in keys}}
                        for loss, numbers in zip(moment.losses, moment.numbers, strict=True)
                    ],
                }
                for moment in view.moments
            ]
            for view in views
        },
    }
