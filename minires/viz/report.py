"""The report of a comparison: one HTML page that needs nothing beside it.

Figures are inlined, fonts are the reader's own, there is no script, and a content security policy
in the page forbids every request.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from minires.table import html_table
from minires.viz import style
from minires.viz.figures import gradient_flow, training_curves
from minires.viz.groups import Group, group_runs, lr_drops
from minires.viz.page import PAGE, STYLESHEET
from minires.viz.tables import summary_rows
from minires.viz.words import describe_curves, describe_flow, findings, joined

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["compare_report", "figure_html", "figure_png", "figure_svg"]

_PNG_DPI = 160
_LARGEST_SVG = 500_000

_KIND_WORDS = {
    "plain": "plain networks are stacks of layers without skips",
    "residual": "residual networks add each block's input to its output",
    "preact": "pre-activation networks are residual, with normalisation and activation before "
    "each layer, so that nothing stands on the path of the skips",
}

# In the order in which the command documents them; `--out` and `--threads` change no number.
_OPTIONS = (
    "data",
    "depths",
    "kinds",
    "width",
    "shortcut",
    "epochs",
    "batch_size",
    "lr",
    "momentum",
    "weight_decay",
    "seeds",
    "device",
)


def figure_png(fig: Figure, dpi: int = _PNG_DPI) -> bytes:
    """The figure as a PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with style.context():
        fig.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def figure_svg(fig: Figure, prefix: str) -> str:
    """The figure as an ``<svg>`` element to be put into a page; the same figure, the same text.

    Every id in it starts with ``prefix``, so that figures on one page cannot take each other's
    clip paths and markers.  There is no date and no other metadata in it.
    """
    buffer = io.StringIO()
    with style.context():
        fig.savefig(buffer, format="svg")
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # It holds the date, and addresses of vocabularies that nothing here needs.
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace(' xmlns:xlink="http://www.w3.org/1999/xlink"', "")
    text = text.replace("xlink:href=", "href=")
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = text.replace('href="#', f'href="#{prefix}-').replace("url(#", f"url(#{prefix}-")
    # A universal rule inside one SVG would reach every element of the page around it.
    return text.replace("*{", f"#{prefix} *{{").replace("<svg ", f'<svg id="{prefix}" ', 1)


def figure_html(figure: Figure, prefix: str, alt: str) -> str:
    """The figure as an element of a page: an SVG, or a PNG where that would be too large."""
    svg = figure_svg(figure, prefix)
    if len(svg) < _LARGEST_SVG:
        return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1)
    png = base64.b64encode(figure_png(figure)).decode("ascii")
    return f'<img alt="{escape(alt)}" src="data:image/png;base64,{png}">'


def compare_report(results: Mapping[str, Any]) -> str:
    """A self-contained page about one comparison, from the contents of its ``results.json``.

    >>> page = compare_report({"config": {"data": "digits"}, "environment": {}, "runs": []})
    >>> page.splitlines()[0], "<script" in page
    ('<!DOCTYPE html>', False)
    """
    config: Mapping[str, Any] = results.get("config") or {}
    runs = list(results.get("runs") or ())
    groups = group_runs(runs)
    title = _title(config, groups)
    body = _body(results, config, runs, groups)
    return PAGE.format(title=escape(title), stylesheet=STYLESHEET, body=body)


def _body(
    results: Mapping[str, Any],
    config: Mapping[str, Any],
    runs: Sequence[Mapping[str, Any]],
    groups: Sequence[Group],
) -> str:
    parts = [
        '<header><p class="kicker">minires compare</p>',
        f"<h1>{escape(_title(config, groups))}</h1>",
        f'<p class="lead">{escape(_what_was_run(config, runs, groups))}</p>',
    ]
    parts += [f'<p class="notice">{escape(_interrupted(config, runs))}</p>'] * bool(
        results.get("interrupted")
    )
    parts.append("</header>\n<main>")
    if runs:
        headers, rows = summary_rows(runs)
        several = "seeds" in headers
        caption = "Errors at the end of training, in evaluation mode" + (
            "; mean ± sample standard deviation over the seeds" if several else ""
        )
        items = "\n".join(f"<li>{escape(text)}</li>" for text in findings(groups))
        parts += [
            '<section aria-labelledby="shows"><h2 id="shows">What this run shows</h2>',
            f"<ul>\n{items}\n</ul>",
            f'<p class="remark">{escape(_how_far(runs, groups))}</p></section>',
            '<section aria-labelledby="numbers"><h2 id="numbers">The numbers</h2>',
            '<div class="wide"><div class="scroll" tabindex="0" role="region" '
            'aria-label="Table of results">',
            html_table(headers, rows, caption=caption, row_headers=2),
            "</div></div></section>",
            '<section aria-labelledby="training"><h2 id="training">Training</h2>',
            _figure(
                training_curves(runs),
                "curves",
                "Training curves",
                describe_curves(groups),
                _read_curves(groups),
            ),
            '</section>\n<section aria-labelledby="flow"><h2 id="flow">Flow of the gradient</h2>',
            _figure(
                gradient_flow(runs),
                "gradient",
                "Flow of the gradient",
                describe_flow(groups),
                _read_flow(groups),
            ),
            "</section>",
        ]
    else:
        parts.append("<section><h2>Results</h2><p>No network was finished.</p></section>")
    parts += [
        '<section aria-labelledby="again"><h2 id="again">Run it again</h2>',
        f'<pre tabindex="0"><code>{_unbroken(_command(config))}</code></pre>',
        _details("Configuration", config),
        _details("Environment", results.get("environment") or {}),
        "</section>\n</main>",
    ]
    version = (results.get("environment") or {}).get("minires")
    parts.append(f"<footer><p>minires {escape(str(version or ''))}".rstrip() + "</p></footer>")
    return "\n".join(parts)


def _figure(figure: Figure, name: str, label: str, alt: str, reading: str) -> str:
    return (
        f'<figure><div class="card" tabindex="0" role="group" aria-label="{escape(label)}">'
        f"{figure_html(figure, name, alt)}</div>"
        f"<figcaption><strong>How to read it.</strong> {escape(reading)}</figcaption></figure>"
    )


def _kind_name(kind: str) -> str:
    return "pre-activation" if kind == "preact" else kind


def _kinds(groups: Sequence[Group]) -> list[str]:
    return list(dict.fromkeys(group.kind for group in groups))


def _title(config: Mapping[str, Any], groups: Sequence[Group]) -> str:
    kinds = _kinds(groups) or [str(kind) for kind in config.get("kinds") or ()]
    networks = f"{joined([_kind_name(kind) for kind in kinds])} networks" if kinds else "Networks"
    return f"{networks[0].upper()}{networks[1:]} on {config.get('data', 'the data')}"


def _what_was_run(
    config: Mapping[str, Any], runs: Sequence[Mapping[str, Any]], groups: Sequence[Group]
) -> str:
    depths = [str(depth) for depth in config.get("depths") or ()]
    seeds = [str(seed) for seed in config.get("seeds") or ()]
    text = "Networks of the CIFAR family"
    if depths:
        text += f" with {joined(depths)} layers"
    shape = [_given(config, "width", "width {}"), _given(config, "shortcut", "shortcut {}")]
    text += f" ({', '.join(filter(None, shape))})" if any(shape) else ""
    text += " were trained"
    text += _given(config, "epochs", " for {} epoch" + "s" * (config.get("epochs") != 1))
    text += f" on {config.get('data', 'the data')}"
    counts = (config.get("train_samples"), config.get("test_samples"))
    if None not in counts:
        text += f" ({counts[0]:,} samples to train on, {counts[1]:,} to test)"
    drops = sorted({epoch for epoch, _ in lr_drops(runs)})
    settings = [
        _given(config, "batch_size", "batches of {}"),
        _given(config, "lr", "learning rate {}"),
        f"lowered after epoch{'s' * (len(drops) > 1)} {joined([str(d) for d in drops])}"
        if drops
        else "",
        _given(config, "momentum", "momentum {}"),
        _given(config, "weight_decay", "weight decay {}"),
        f"seed{'s' * (len(seeds) > 1)} {joined(seeds)}" if seeds else "",
    ]
    if any(settings):
        text += f". They learned by SGD: {', '.join(filter(None, settings))}"
    kinds = [_KIND_WORDS[kind] for kind in _kinds(groups) if kind in _KIND_WORDS]
    described = joined(kinds)
    return f"{text}. {described[:1].upper()}{described[1:]}{'.' * bool(described)}".strip()


def _given(config: Mapping[str, Any], key: str, template: str) -> str:
    value = config.get(key)
    return "" if value is None else template.format(value)


def _interrupted(config: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    planned = 1
    for key in ("depths", "kinds", "seeds"):
        planned *= len(config.get(key) or (None,))
    return (
        f"This comparison was interrupted: the page shows the {len(runs)} of {planned} trainings "
        f"that {'was' if len(runs) == 1 else 'were'} finished."
    )


def _how_far(runs: Sequence[Mapping[str, Any]], groups: Sequence[Group]) -> str:
    """How far the findings carry."""
    text = "These statements hold for this data, these settings and this many epochs"
    if len(groups) == len(runs):
        return f"{text}, and for one seed each: several seeds would show the spread."
    return f"{text}; errors are means over the seeds."


def _read_curves(groups: Sequence[Group]) -> str:
    kinds = _kinds(groups)
    first = (
        "Read the left panel first: it is the error on the data the networks were trained on, so "
        "a deeper network that stays above a shallower one there has failed to optimise and has "
        "not over-fitted."
    )
    if "plain" in kinds and len(kinds) > 1:
        second = (
            "One colour is one depth, dashed lines are plain and the others have skips, so the "
            "distance between lines of one colour is what the skips change."
        )
    else:
        second = (
            "One colour is one depth, darker for deeper, and the label at the end of a line gives "
            "its last value."
        )
    return f"{first} {second}"


def _read_flow(groups: Sequence[Group]) -> str:
    first = (
        "Follow a line from right to left, the way the gradient travels: where it rises the "
        "gradient grows on its way back to the input, where it falls the gradient fades, and "
        "each step between powers of ten is a factor of ten."
    )
    shares = [group for group in groups if group.kind != "plain"]
    second = (
        "In the lower panels a value above the line at 0.5 means that more of the gradient comes "
        "back over the skip of that block than through its branch."
        if shares
        else "A level line means that every block hands on a gradient as large as the one it got."
    )
    return f"{first} {second}"


def _command(config: Mapping[str, Any]) -> str:
    """The command line that repeats the run."""
    words = ["minires", "compare"]
    for key in _OPTIONS:
        value = config.get(key)
        if value is None or value == []:
            continue
        values = value if isinstance(value, list | tuple) else [value]
        words += [f"--{key.replace('_', '-')}", *(str(v) for v in values)]
    return shlex.join(words)


def _unbroken(command: str) -> str:
    """The command in HTML, so that a line may end between options and never inside one."""
    first, *options = escape(command).split(" --")
    spans = [first, *(f"--{option}" for option in options)]
    return " ".join(f"<span>{span}</span>" for span in spans)


def _details(title: str, values: Mapping[str, Any]) -> str:
    rows: list[list[str]] = []
    for key, value in values.items():
        if isinstance(value, list | tuple):
            shown = ", ".join(map(str, value))
        elif isinstance(value, Mapping):
            shown = json.dumps(value, default=str)
        else:
            shown = str(value)
        rows.append([str(key).replace("_", " "), shown])
    table = html_table(["setting", "value"], rows, caption=title)
    return (
        f"<details><summary>{escape(title)}</summary>"
        f'<div class="scroll settings" tabindex="0">{table}</div></details>'
    )
