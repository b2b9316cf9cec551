"""The figures of a request trace as one self-contained page."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from kaiju_sim.report.html import page
from kaiju_sim.report.html.charts import Figure, curve_figure


def trace_page(figures: Mapping[str, Any]) -> str:
    """HTML of what `kaiju-sim trace` found: the reuse curve, and every figure as a table."""
    title = f"Trace {figures['name']} ({figures['format']})"
    charts = reuse_figures(figures)
    body = [
        f"<header><h1>{page.escape(title)}</h1>\n",
        f'<p class="title">sha256 {page.escape(figures["sha256"])}</p></header>\n',
        "<h2>Prefix reuse against cache size</h2>\n" if charts else "",
        *(f'<div class="charts">{page.chart(i, wide=True)}</div>\n' for i in range(len(charts))),
        _curve_table(figures["curve"]) if charts else "",
        "<h2>All figures</h2>\n",
        f'<div class="panel">{_values(figures)}</div>\n',
    ]
    return page.document(title, "".join(body), charts)


def reuse_figures(figures: Mapping[str, Any]) -> list[Figure]:
    """The reuse curve over tokens of KV and, with a model, over GiB."""
    curve = figures.get("curve")
    if curve is None:
        return []
    lines = {
        "prompt tokens": np.array(curve["token_hit"]),
        "blocks": np.array(curve["block_hit"]),
    }
    source = f"{figures['rows']:,} rows, one LRU cache, no time and no load"
    tokens = np.array(curve["size"], dtype=np.float64) * curve["unit_tokens"]
    axes = {"cache size (tokens of KV)": tokens}
    if "gib_global" in curve:
        axes[f"cache size (GiB, global layers of {curve['model']})"] = np.array(curve["gib_global"])
        axes[f"cache size (GiB, all layers of {curve['model']})"] = np.array(curve["gib_all"])
    return [curve_figure("Hit rate", size, lines, source, axis=axis) for axis, size in axes.items()]


def _curve_table(curve: Mapping[str, Any]) -> str:
    unit = "blocks" if curve["unit_tokens"] > 1 else "tokens"
    names = [name for name in ("gib_global", "gib_all") if name in curve]
    heads = [unit, *(name.replace("_", ", ").replace("gib", "GiB") for name in names)]
    rows = [
        [f"{size:,}", *(f"{curve[name][i]:,g}" for name in names)]
        + [f"{curve['block_hit'][i]:.4f}", f"{curve['token_hit'][i]:.4f}"]
        for i, size in enumerate(curve["size"])
    ]
    heads += ["block hit", "token hit"]
    table = page.table(heads, rows, ["number"] * len(heads))
    return f'<div class="panel">{table}</div>\n'


def _values(figures: Mapping[str, Any]) -> str:
    rows = [[page.escape(name), page.escape(value)] for name, value in _leaves(figures)]
    return page.table(["figure", "value"], rows, ["name", "number"])


def _leaves(figures: Mapping[str, Any], front: str = "") -> Iterator[tuple[str, str]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            if name != "curve":
                yield from _leaves(value, f"{front}{name}.")
        else:
            yield f"{front}{name}", "-" if value is None else str(value)
