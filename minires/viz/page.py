"""The frame and the stylesheet of the report: system fonts, light and dark, and a print form."""

from __future__ import annotations

__all__ = ["PAGE", "STYLESHEET"]

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{stylesheet}
</style>
</head>
<body>
{body}
</body>
</html>
"""

STYLESHEET = """\
:root {
  color-scheme: light dark;
  --paper: #fbfaf7; --ink: #1f2430; --muted: #5b6270; --rule: #d9d8d2; --accent: #0a4c94;
  --soft: #f1efe9; --notice: #fff3d6; --notice-rule: #d47d00;
  --serif: Charter, "Bitstream Charter", "Sitka Text", Cambria, "Liberation Serif", Georgia, serif;
  --sans: system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Helvetica, sans-serif;
  --mono: ui-monospace, "Cascadia Code", "SF Mono", Menlo, Consolas, "Liberation Mono", monospace;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #16181d; --ink: #e6e4de; --muted: #a4a9b4; --rule: #363a43; --accent: #8ab8f0;
    --soft: #20232a; --notice: #362a10; --notice-rule: #e0a030;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: clamp(1.25rem, 5vw, 4rem) clamp(1rem, 4vw, 3rem);
  background: var(--paper); color: var(--ink);
  font: 1.075rem/1.6 var(--serif); text-rendering: optimizeLegibility;
}
header, main, footer { max-width: 64rem; margin-inline: auto; }
h1, h2, p, ul, figcaption, pre, details { max-width: 44rem; }
h1 { font-size: clamp(1.7rem, 1.2rem + 2.2vw, 2.6rem); line-height: 1.15; margin: 0 0 1rem;
  font-weight: 700; letter-spacing: -0.012em; text-wrap: balance; }
h2 { font-size: 1.4rem; line-height: 1.25; margin: 2.75rem 0 0.75rem; font-weight: 700; }
p { margin: 0 0 1rem; text-wrap: pretty; }
ul { margin: 0 0 1rem; padding-left: 1.2em; }
li { margin-bottom: 0.5rem; text-wrap: pretty; }
li::marker { color: var(--accent); }
.kicker { margin-bottom: 0.5rem; font: 600 0.85rem/1.4 var(--mono); color: var(--accent); }
.lead { font-size: 1.15rem; }
.remark, figcaption, footer { color: var(--muted); font: 0.95rem/1.55 var(--sans); }
.notice { padding: 0.75rem 1rem; background: var(--notice);
  border-left: 4px solid var(--notice-rule); font: 1rem/1.5 var(--sans); }
.scroll, .card, pre { overflow-x: auto; }
.scroll:focus-visible, .card:focus-visible, pre:focus-visible, summary:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 3px; }
table { border-collapse: collapse; font: 0.95rem/1.4 var(--sans);
  font-variant-numeric: tabular-nums lining-nums; min-width: min(100%, 44rem); }
caption { text-align: left; color: var(--muted); padding-bottom: 0.6rem; }
th, td { padding: 0.5rem 0.9rem; text-align: left; white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { padding-left: 0; }
thead th { font-weight: 600; color: var(--muted); border-bottom: 1.5px solid var(--ink); }
tbody tr + tr > * { border-top: 1px solid var(--rule); }
tbody tr:last-child > * { border-bottom: 1px solid var(--rule); }
tbody th { font-weight: 600; }
.number { text-align: right; }
figure { margin: 0; }
.card { background: #fff; color: #1f2430; border: 1px solid var(--rule); border-radius: 8px;
  padding: 0.75rem; margin-bottom: 0.9rem; }
.card svg, .card img { display: block; width: 100%; min-width: 46rem; height: auto; }
.card svg text { font-family: var(--sans) !important; }
figcaption strong { color: var(--ink); }
pre { background: var(--soft); border: 1px solid var(--rule); border-radius: 6px;
  padding: 0.9rem 1.1rem; margin: 0 0 1.25rem; white-space: pre-wrap;
  font: 0.92rem/1.55 var(--mono); }
pre span { display: inline-block; }
details { border-top: 1px solid var(--rule); padding: 0.6rem 0; font: 1rem/1.5 var(--sans); }
details:last-of-type { border-bottom: 1px solid var(--rule); }
summary { cursor: pointer; font-weight: 600; }
.settings { margin-top: 0.6rem; }
.settings table { min-width: 0; }
.settings caption { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); }
.settings td { white-space: normal; overflow-wrap: anywhere; }
footer { margin-top: 3rem; }
@media (max-width: 50rem) {
  figure::before, .wide::before { content: "Scroll sideways to see the whole figure.";
    display: block; color: var(--muted); font: 0.85rem/1.4 var(--sans); margin-bottom: 0.4rem; }
  .wide::before { content: "Scroll sideways to see the whole table."; }
  caption { position: sticky; left: 0; max-width: calc(100vw - 2.5rem); }
}
@media print {
  html { font-size: 9.5pt; }
  figure::before, .wide::before { display: none; }
  :root { --paper: #fff; --ink: #000; --muted: #444; --rule: #bbb; --accent: #000; --soft: #fff; }
  @page { margin: 16mm 15mm; }
  body { padding: 0; }
  h1 { font-size: 20pt; }
  h2 { font-size: 14pt; margin-top: 1.5rem; break-after: avoid; }
  table { min-width: 0; }
  th, td { padding: 0.25rem 0.5rem; }
  figure, .card, tr, pre, li { break-inside: avoid; }
  .card { border: 0; padding: 0; overflow: visible; }
  .card svg, .card img { min-width: 0; }
}
"""
