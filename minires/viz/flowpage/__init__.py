"""The page of ``minires flow``: the network taken apart, on one HTML page that needs nothing else.

The picture is there first and reads without script; the script (``flow.js``) adds the walk back
through the blocks.  The content security policy of the page allows that one script, by its hash,
and no request at all.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from minires.viz import style
from minires.viz.flowpage.instruments import instrument_sections
from minires.viz.flowpage.microscope import microscope
from minires.viz.flowpage.number_tables import details, numbers_tables
from minires.viz.flowpage.views import make_views, sentences
from minires.viz.page import PAGE, STYLESHEET
from minires.viz.words import joined

__all__ = ["flow_page"]

_KIND_WORDS = {
    "plain": "a plain stack of layers",
    "residual": "the same layers with a skip around every block",
}


def flow_page(results: Mapping[str, Any]) -> str:
    """A self-contained page about the flow of the gradient, from the contents of a results file.

    Args:
        results: ``config``, ``environment``, ``interrupted`` and ``networks``.  A network has its
            ``name``, ``kind``, ``parameters``, ``stem``, ``head`` and ``blocks`` (name, shape and
            shortcut of each), the results of the instruments by moment and name (``moments``), what
            could not be measured (``failed``), and the ``recording`` of its training or None.

    Returns:
        The page as HTML.  What is missing or not finite leaves a gap in it.

    >>> block = {"name": "0", "shape": [4, 8, 8], "shortcut": "identity"}
    >>> page = flow_page({"networks": [{"name": "my network", "blocks": [block]}]})
    >>> page.splitlines()[0], page.count("<script"), ">my network</text>" in page
    ('<!DOCTYPE html>', 1, True)
    """
    here = Path(__file__)
    script = here.with_name("flow.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    # Before the page is filled in: what the reader's names contain cannot widen the policy.
    frame = PAGE.replace(
        "default-src 'none';", f"default-src 'none'; script-src 'sha256-{digest}';"
    )
    colors = f":root {{ --skip: {style.SKIP_COLOR}; --branch: {style.BRANCH_COLOR}; }}\n"
    return frame.format(
        title=escape(_title(results)),
        stylesheet=STYLESHEET + colors + here.with_name("flow.css").read_text("utf-8"),
        body=f"{_body(results)}\n<script>{script}</script>",
    )


def _body(results: Mapping[str, Any]) -> str:
    networks = list(results.get("networks") or ())
    environment = results.get("environment") or {}
    parts = [
        '<header><p class="kicker">minires flow</p>',
        f"<h1>{escape(_title(results))}</h1>",
        f'<p class="lead">{escape(_what_was_run(results))}</p>',
        '<p class="notice">This run was interrupted: the page shows what was finished.</p>'
        * bool(results.get("interrupted")),
        "</header>\n<main>",
    ]
    if networks:
        views = make_views(networks)
        told = [view for view in views if view.key != "training"] or views
        said = [text for view in told for text in sentences(view, networks)]
        if said:
            items = "\n".join(f"<li>{escape(text)}</li>" for text in said)
            parts.append(
                '<section aria-labelledby="shows"><h2 id="shows">What this run shows</h2>'
                f"<ul>\n{items}\n</ul>"
                '<p class="remark">These statements hold for this batch, these weights and this '
                "seed.</p></section>"
            )
        sections = [microscope(networks, views), *_failed(networks), *instrument_sections(networks)]
        parts += [_contents(sections), *sections]
    else:
        parts.append("<section><h2>Results</h2><p>No network was measured.</p></section>")
    parts.append('<section aria-labelledby="settings"><h2 id="settings">Settings</h2>')
    for title, values in (("Configuration", results.get("config")), ("Environment", environment)):
        parts.append(details(title, numbers_tables(values or {}, title)))
    parts.append("</section>\n</main>")
    version = environment.get("minires")
    parts.append(f"<footer><p>minires {escape(str(version or ''))}".rstrip() + "</p></footer>")
    return "\n".join(parts)


def _contents(sections: Sequence[str]) -> str:
    """Links to the sections below."""
    headings = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', "\n".join(sections))
    items = "\n".join(f'<li><a href="#{place}">{heading}</a></li>' for place, heading in headings)
    return f'<nav class="contents" aria-label="On this page"><ul>\n{items}\n</ul></nav>'


def _failed(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """The instruments that could not run, and why."""
    failed = [text for network in networks for text in network.get("failed") or ()]
    if not failed:
        return []
    items = "\n".join(f"<li>{escape(str(text))}</li>" for text in failed)
    return [
        '<section aria-labelledby="failed"><h2 id="failed">What could not be measured</h2>'
        f"<ul>\n{items}\n</ul></section>"
    ]


def _title(results: Mapping[str, Any]) -> str:
    config = results.get("config") or {}
    names = [str(network.get("name")) for network in results.get("networks") or ()]
    title = f"How the gradient flows through {joined(names) or config.get('model', 'a network')}"
    return title + (f" on {config['data']}" if config.get("data") else "")


def _what_was_run(results: Mapping[str, Any]) -> str:
    config = results.get("config") or {}
    parts = []
    for network in results.get("networks") or ():
        kind = _KIND_WORDS.get(str(network.get("kind")), "")
        facts = [f"{network['parameters']:,} parameters"] if network.get("parameters") else []
        facts.insert(0, f"{len(network.get('blocks') or ())} blocks")
        parts.append(f"{network.get('name')}{f' is {kind}' * bool(kind)} ({', '.join(facts)})")
    text = f"{joined(parts)}." if parts else ""
    batch = config.get("batch_size")
    if batch:
        text += f" The gradients are exact, of the loss on one batch of {batch}"
        text += f" from {config['data']}" if config.get("data") else ""
        text += "; norms are over the whole batch."
    return text.strip()
