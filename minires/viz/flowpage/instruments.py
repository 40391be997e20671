"""The plots of the instruments: which figure draws which result, and how each is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

from minires.viz.flowpage.number_tables import details, numbers_tables
from minires.viz.flowpage.views import MOMENTS
from minires.viz.report import figure_html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["INSTRUMENTS", "Instrument", "instrument_figure", "instrument_sections"]


class Instrument(NamedTuple):
    """How one kind of result is shown."""

    heading: str
    figure: str  # a function of minires.viz, called with the result's plain data
    reading: str


INSTRUMENTS = {
    "ledger": Instrument(
        "Ledger: skip and branch at every fork",
        "ledger_figure",
        "At each fork two gradients come back and are added: one over the skip, one through the "
        "branch. The upper panel compares their norms; a share above one half means that more "
        "came over the skip; a cosine below zero means that the two partly cancel. A plain block "
        "has the branch alone.",
    ),
    "spectrum": Instrument(
        "Path spectrum: through how many branches",
        "spectrum_figure",
        "A bar is the gradient through exactly k branches, summed over all paths of that length. "
        "The norms do not add up to the norm of the gradient, because components cancel; their "
        "signed shares add up to one. A plain network has a single path.",
    ),
    "paths": Instrument(
        "Single paths, after Veit et al. 2016",
        "paths_figure",
        "Read from left to right: how many paths have k branches, how large the gradient along one "
        "of them is, and the product of the two. The product ignores that paths cancel, which the "
        "spectrum does not.",
    ),
    "backward_lesion": Instrument(
        "Backward lesions: an edge cut for the gradient alone",
        "backward_lesion_figure",
        "Above, the gradient at each block's input without the lesion and with it; below, the "
        "cosine between the two. The forward pass is untouched and only the way back is cut, in "
        "the shaded blocks: what changes is due to the gradient, not to another function.",
    ),
    "forward_lesion": Instrument(
        "Forward lesions: the error without some blocks",
        "forward_lesion_figure",
        "Above, the error after one block was taken out of the network as it stands, without "
        "training it again, beside the error of the whole network. Below, where measured, several "
        "blocks are taken out, or their order is shuffled. Before training all errors are near "
        "chance, and nothing can be read from them.",
    ),
    "dial": Instrument(
        "Dial: the skips turned from 0 to 1",
        "dial_figure",
        "The weights and the data stay the same, and the skips are scaled: 1 is the network as "
        "given, 0 has no skips. Follow a line from right to left to see what changes as they go; "
        "below, a line is one setting, darker where the skips are stronger.",
    ),
    "jacobian": Instrument(
        "Jacobians: how much a block stretches",
        "jacobian_figure",
        "A singular value above the rule at 1 stretches a direction on its way through the block, "
        "one below it shrinks it. The gradient is stretched by the same values on its way back.",
    ),
    "shattering": Instrument(
        "Shattering: how alike the gradients of two inputs are",
        "shattering_figure",
        "Each curve is the correlation between gradients by the input. Near the band of white "
        "noise the gradients of neighbours are unrelated, and inside it nothing is measured. "
        "The lag counts steps along a line from one image to another; brown noise is a sum of "
        "independent steps, and about as smooth as the gradient of a shallow network.",
    ),
    "signal": Instrument(
        "Signal: activations and gradients, layer by layer",
        "signal_figure",
        "Layers stand in the order in which they run. Follow a line from left to right for what "
        "travels forward, and from right to left for the gradients. A dead unit is zero for the "
        "whole batch.",
    ),
    "landscape": Instrument(
        "Landscape: the loss around the weights",
        "landscape_figure",
        "The weights are in the middle, and each step away from them is measured filter by filter, "
        "so that networks of different scale can be compared. It is a cut along one or two random "
        "directions out of very many.",
    ),
    "contracts": Instrument(
        "Contracts: what could be wrong with the flow",
        "contracts_figure",
        "A row is a check and a column a layer; a mark is a finding, and the number at the right "
        "counts them. A row without a mark is kept everywhere.",
    ),
    "recording": Instrument(
        "Recording: the flow while the network learns",
        "recording_figure",
        "Training goes from left to right, and a row of a map is one block, the last on top. The "
        "first column is the network as it was initialised; compare how fast the rows change.",
    ),
}


def instrument_figure(key: str, data: Mapping[str, Any]) -> Figure:
    """The figure of a result of the instrument ``key``, from its plain data.

    >>> figure = instrument_figure("ledger", {"blocks": [{"name": "0", "branch_norm": 2.0}]})
    >>> figure.alt
    "Norm of the gradient at each block's fork. Block 0: branch 2.0."
    """
    from minires import viz  # it offers this module's page, and so imports it

    figure: Figure = getattr(viz, INSTRUMENTS[key].figure)(data)
    return figure


def instrument_sections(networks: Sequence[Mapping[str, Any]]) -> list[str]:
    """A section for each instrument that ran, with one figure for each moment and network."""
    found = _gather(networks)
    order = [key for key in INSTRUMENTS if key in found]
    order += [key for key in found if key not in INSTRUMENTS]
    return [_section(key, found[key]) for key in order]


class _Result(NamedTuple):
    network: str
    moment: str  # 'initial', 'trained', or '' for a recording
    data: Any


def _gather(networks: Sequence[Mapping[str, Any]]) -> dict[str, list[_Result]]:
    """Results by instrument; a moment has all its networks before the next begins."""
    found: dict[str, list[_Result]] = {}
    for moment in MOMENTS:
        for network in networks:
            results = (network.get("moments") or {}).get(moment) or {}
            for key, data in results.items():
                found.setdefault(key, []).append(_Result(str(network.get("name")), moment, data))
    for network in networks:
        if network.get("recording"):
            result = _Result(str(network.get("name")), "", network["recording"])
            found.setdefault("recording", []).append(result)
    return found


def _section(key: str, results: Sequence[_Result]) -> str:
    name = key.replace("_", " ")
    heading = INSTRUMENTS[key].heading if key in INSTRUMENTS else name.capitalize()
    place = "instrument-" + "".join(c if c.isalnum() else "-" for c in key)
    parts = [
        f'<section class="instrument" aria-labelledby="{place}">'
        f'<h2 id="{place}">{escape(heading)}</h2>'
    ]
    if key in INSTRUMENTS:
        parts.append(
            '<p class="remark"><strong>How to read it.</strong> '
            f"{escape(INSTRUMENTS[key].reading)}</p>"
        )
    parts += [_figure(key, f"{place}-{i}", result) for i, result in enumerate(results)]
    return "\n".join([*parts, "</section>"])


def _figure(key: str, place: str, result: _Result) -> str:
    when = MOMENTS.get(result.moment, "during training").lower()
    title = f"{result.network}, {when}"
    found = result.data if isinstance(result.data, Mapping) else {}
    said = f" {escape(str(found['caption']))}" if found.get("caption") else ""
    numbers = {key: value for key, value in found.items() if key != "caption"}
    tables = details(f"Numbers: {title}", numbers_tables(numbers, title)) if numbers else ""
    return (
        f"<figure><figcaption><strong>{escape(title)}.</strong>{said}</figcaption>"
        f'<div class="card" tabindex="0" role="group" aria-label="{escape(title)}">'
        f"{_picture(key, place, found)}</div>{tables}</figure>"
    )


def _picture(key: str, place: str, data: Mapping[str, Any]) -> str:
    """The figure of a result; whatever goes wrong is said in its place and loses no more."""
    if not data:
        return _notice("This was not measured.")
    if key not in INSTRUMENTS:
        return _notice("There is no figure for this instrument; its numbers are below.")
    try:
        figure = instrument_figure(key, data)
        alt = getattr(figure, "alt", "") or INSTRUMENTS[key].heading
        return figure_html(figure, place, alt)
    except Exception as error:  # any: the other instruments are still worth their page
        return _notice(f"The figure could not be drawn ({type(error).__name__}: {error}).")


def _notice(text: str) -> str:
    return f'<p class="notice">{escape(text)}</p>'
