"""The frame of the HTML report: style, script, and how they become one file.

The file asks nothing of the network, and its content security policy forbids it to. Plotly's
script is packed (gzip in base64), which makes the file a third of the size; the browser unpacks
it. Without a script the tables still say everything.
"""

import base64
import gzip
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
)

_STYLE = """
:root { --ink: #1f2933; --soft: #616e7c; --line: #e4e7eb; --paper: #fff; --wash: #f5f7fa;
  --accent: #0b6e99; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--wash); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 28px 24px 48px; }
header p { margin: 6px 0; }
h1 { font-size: 25px; line-height: 1.25; margin: 4px 0 12px; font-weight: 650; }
h2 { font-size: 18px; margin: 36px 0 12px; font-weight: 650; }
h3 { font-size: 14px; margin: 0; font-weight: 650; }
.title, .note, footer { color: var(--soft); }
.badge { display: inline-block; padding: 1px 10px; margin-right: 8px; border-radius: 999px;
  font-size: 13px; font-weight: 600; border: 1px solid currentcolor; }
.stable { color: #276b3a; background: #e9f6ec; }
.backlogged { color: #8a5a00; background: #fff6e0; }
.overloaded { color: #a02020; background: #fdecec; }
.source { color: #4a5a6a; background: #eef2f6; }
.cards { display: grid; gap: 12px; margin-top: 22px;
  grid-template-columns: repeat(auto-fill, minmax(200px, 1fr)); }
.card, .panel { background: var(--paper); border: 1px solid var(--line); border-radius: 10px; }
.card { padding: 12px 14px; }
.card b { display: block; font-size: 22px; font-weight: 650; line-height: 1.3; }
.card span { color: var(--soft); font-size: 13px; }
.charts { display: grid; gap: 14px; grid-template-columns: repeat(2, minmax(0, 1fr)); }
.panel { padding: 10px 12px; }
.wide { grid-column: 1 / -1; }
.chart { height: 330px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; padding: 5px 10px; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--soft); font-weight: 600; font-size: 13px; }
tr:last-child td { border-bottom: 0; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.name { white-space: nowrap; }
code, pre { font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
td code { color: var(--soft); }
pre { overflow-x: auto; margin: 8px 0 0; }
details { background: var(--paper); border: 1px solid var(--line); border-radius: 10px;
  padding: 8px 14px; margin-bottom: 10px; }
summary { cursor: pointer; font-weight: 600; }
footer { margin-top: 36px; font-size: 13px; overflow-wrap: anywhere; }
@media (max-width: 860px) { .charts { grid-template-columns: minmax(0, 1fr); } }
@media print { body { background: none; } .panel, .card { break-inside: avoid; } }
"""

_SCRIPT = """
const figures = JSON.parse(document.getElementById("figures").textContent);
const options = { displayModeBar: false, responsive: true };
function draw() {
  figures.forEach((figure, i) =>
    Plotly.newPlot("chart-" + i, figure.data, figure.layout, options));
}
function refuse() {
  document.querySelectorAll(".chart").forEach(place => {
    place.textContent = "This browser cannot unpack the charts; the tables below say it all.";
  });
}
async function unpack(id) {
  const packed = atob(document.getElementById(id).textContent.trim());
  const bytes = Uint8Array.from(packed, letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
}
unpack("plotly").then(draw).catch(refuse);
"""


def escape(text: object) -> str:
    """Text that is safe in HTML content and attributes."""
    return html.escape(str(text))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], classes: Sequence[str] = ()) -> str:
    """A table from cells that are HTML already; `classes` names a class per column."""
    kinds = [f' class="{name}"' if name else "" for name in classes] or [""] * len(heads)
    head = "".join(f"<th{k}>{h}</th>" for h, k in zip(heads, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{k}>{c}</td>" for c, k in zip(row, kinds, strict=True)) + "</tr>\n"
        for row in rows
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n"


def details(title: str, content: str, *, unfolded: bool = False) -> str:
    """A part that folds; `content` is HTML."""
    state = " open" if unfolded else ""
    return f"<details{state}><summary>{escape(title)}</summary>\n{content}</details>\n"


def chart(place: int, *, wide: bool = False) -> str:
    """The panel that figure number `place` is drawn into."""
    size = " wide" if wide else ""
    return f'<div class="panel{size}"><div class="chart" id="chart-{place}"></div></div>\n'


def document(title: str, body: str, figures: Sequence[dict[str, Any]]) -> str:
    """The whole file: `body` with the figures and all that draws them."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{body}</main>
<script type="application/json" id="figures">{_embedded(figures)}</script>
<script type="text/plain" id="plotly">{_packed_plotly()}</script>
<script>{_SCRIPT}</script>
</body>
</html>
"""


def _embedded(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _packed_plotly() -> str:
    """Plotly's own script from the installed package; the same bytes each time."""
    import plotly

    script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
    return base64.b64encode(gzip.compress(script.read_bytes(), 6, mtime=0)).decode("ascii")
