"""Charts as plain data: pure functions from arrays to Plotly figures (`{"data", "layout"}`).

Plain dictionaries, so that drawing needs no plotting library: the HTML report and the app hand
them to Plotly in the browser.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kaiju_sim.report.html.series import Floats, Heat, Spread

Figure = dict[str, Any]

INK, GRID = "#1f2933", "#e4e7eb"
PALETTE = ("#0b6e99", "#d9622b", "#4f8a4c", "#8a4f9e", "#b8860b", "#5c6b77")
_FONT = {"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "color": INK}


def latency_figure(title: str, curves: Mapping[str, tuple[Floats, Floats]], source: str) -> Figure:
    """Cumulative distributions on a logarithmic time axis: name -> (seconds, fraction)."""
    data = [
        _line(name, values, fractions, PALETTE[place % len(PALETTE)])
        | {"hovertemplate": "%{y:.2%} within %{x:.3~s}s<extra>%{fullData.name}</extra>"}
        for place, (name, (values, fractions)) in enumerate(curves.items())
    ]
    layout = _layout(title, source, "seconds (log)", "fraction of messages")
    layout["xaxis"] |= {"type": "log", "tickformat": "~s", "ticksuffix": "s", "dtick": 1}
    layout["xaxis"] |= _log_range(list(curves.values()))
    layout["yaxis"] |= {"range": [0, 1.005], "tickformat": ".0%"}
    layout["shapes"] = [_mark(level) for level in (0.5, 0.9, 0.99)]
    return {"data": data, "layout": layout}


def time_figure(
    title: str,
    time_s: Floats,
    lines: Mapping[str, Floats],
    source: str,
    *,
    axis: str,
    cohort: tuple[float, float] | None = None,
    fraction: bool = False,
) -> Figure:
    """Lines over simulated time; what lies outside the cohort's arrivals is shaded."""
    unit, scale = _time_unit(time_s)
    at = time_s / scale
    data = [
        _line(name, at, values, PALETTE[place % len(PALETTE)])
        for place, (name, values) in enumerate(lines.items())
    ]
    layout = _layout(title, source, f"simulated time ({unit})", axis)
    layout["hovermode"] = "x unified"
    layout["yaxis"] |= {"rangemode": "tozero"}
    if fraction:
        layout["yaxis"] |= {"range": [0, 1.02], "tickformat": ".0%"}
    if cohort is not None and at.size:
        edges = [(0.0, cohort[0] / scale), (cohort[1] / scale, float(at[-1]))]
        layout["shapes"] = [_shade(start, end) for start, end in edges if end > start]
        layout["xaxis"] |= {"range": [0, float(at[-1])]}
    return {"data": data, "layout": layout}


def curve_figure(
    title: str, size: Floats, lines: Mapping[str, Floats], source: str, *, axis: str
) -> Figure:
    """Fractions against a size on a logarithmic axis."""
    data = [
        _line(name, size, values, PALETTE[place % len(PALETTE)])
        | {"mode": "lines+markers", "hovertemplate": "%{y:.2%} at %{x:,.6~g}<extra></extra>"}
        for place, (name, values) in enumerate(lines.items())
    ]
    layout = _layout(title, source, axis, "fraction")
    layout["xaxis"] |= {"type": "log", "dtick": 1}
    layout["yaxis"] |= {"rangemode": "tozero", "tickformat": ".0%"}
    return {"data": data, "layout": layout}


def factor_figure(title: str, factors: Mapping[str, float], source: str) -> Figure:
    """A mark at each name's factor, on a logarithmic axis with a line at 1."""
    sizes = np.array(list(factors.values()), dtype=np.float64)
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": list(factors),
        "y": _numbers(sizes),
        "marker": {"size": 10, "color": [PALETTE[int(size < 1)] for size in sizes]},
        "hovertemplate": "claim %{x}: %{y:.3~g} times<extra></extra>",
    }
    layout = _layout(title, source, "claim", "times (log)")
    layout["xaxis"] |= {"type": "category"}
    layout["yaxis"] |= {"type": "log", "dtick": 1}
    layout["shapes"] = [_mark(1.0)]
    return {"data": [trace], "layout": layout}


def band_figure(
    title: str,
    spread: Spread,
    source: str,
    *,
    axis: str,
    cohort: tuple[float, float] | None = None,
) -> Figure:
    """The mean over time within a band from the least to the most; no axis name: a fraction."""
    lines = {"least": spread.low, "most": spread.high, "mean": spread.mean}
    figure = time_figure(
        title, spread.time_s, lines, source, axis=axis, cohort=cohort, fraction=axis == ""
    )
    for edge in figure["data"][:2]:
        edge["line"] = {"color": PALETTE[0], "width": 0}
        edge["showlegend"] = False
    figure["data"][1] |= {"fill": "tonexty", "fillcolor": "rgba(11,110,153,0.2)"}
    figure["data"][2]["line"] = {"color": PALETTE[0], "width": 2}
    return figure


def heat_figure(title: str, heat: Heat, source: str) -> Figure:
    """One row per replica, one column per time, darker is more."""
    unit, scale = _time_unit(heat.time_s)
    trace = {
        "type": "heatmap",
        "x": _numbers(heat.time_s / scale),
        "y": heat.replica,
        "z": [_numbers(row) for row in heat.values],
        "colorscale": [[0, "#f5f8fa"], [0.5, "#6fb1cc"], [0.8, "#0b6e99"], [1, "#5a1e0b"]],
        "colorbar": {"thickness": 10, "outlinewidth": 0, "title": {"text": "messages"}},
        "hovertemplate": "replica %{y}, %{x:.4~g}: %{z:.4~g} messages<extra></extra>",
    }
    layout = _layout(title, source, f"simulated time ({unit})", "cell/replica")
    layout["yaxis"] |= {"type": "category", "showgrid": False, "nticks": 12}
    return {"data": [trace], "layout": layout}


def tornado_figure(
    title: str,
    bars: Sequence[tuple[str, float, float]],
    stated: float,
    source: str,
    *,
    axis: str,
    fraction: bool = False,
) -> Figure:
    """A bar for each name, to its figures at the low and at the high end; the longest on top."""
    shown = bars[::-1]
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": name,
            "y": [bar[0] for bar in shown],
            "x": _numbers(np.array([bar[end] for bar in shown]) - stated),
            "base": stated,
            "marker": {"color": PALETTE[end - 1]},
            "hovertemplate": "%{y}: %{x:+.3~g} from as stated<extra>%{fullData.name}</extra>",
        }
        for end, name in ((1, "at the low end"), (2, "at the high end"))
    ]
    layout = _layout(title, source, axis, "")
    layout |= {"barmode": "overlay", "bargap": 0.35, "hovermode": "closest"}
    layout["title"] |= {"xref": "container", "x": 0.02}
    layout["xaxis"] |= {"tickformat": ".0%" if fraction else "~g", "nticks": 6}
    layout["yaxis"] |= {"type": "category", "showgrid": False, "title": {"text": ""}}
    return {"data": data, "layout": layout}


def ways_figure(
    title: str, x: Floats, lines: Mapping[str, Floats], source: str, *, axes: tuple[str, str]
) -> Figure:
    """Lines on two logarithmic axes."""
    data = [
        _line(name, x, values, PALETTE[place % len(PALETTE)])
        for place, (name, values) in enumerate(lines.items())
    ]
    layout = _layout(title, source, *axes)
    layout["xaxis"] |= {"type": "log", "dtick": 1}
    layout["yaxis"] |= {"type": "log", "dtick": 1}
    layout["legend"] = {"x": 1.02, "y": 1.0}
    return {"data": data, "layout": layout}


def fan_figure(
    title: str, x: Floats, lines: Mapping[str, Floats], source: str, *, axes: tuple[str, str]
) -> Figure:
    """The lines "p10", "p90" as a band, the others drawn over it."""
    order = ("p10", "p90", *(name for name in lines if name not in ("p10", "p90")))
    data = [
        _line(name, x, lines[name], PALETTE[max(0, place - 2)]) for place, name in enumerate(order)
    ]
    for edge in data[:2]:
        edge["line"] = {"color": PALETTE[0], "width": 0}
    data[1] |= {"fill": "tonexty", "fillcolor": "rgba(11,110,153,0.2)"}
    layout = _layout(title, source, *axes)
    layout["yaxis"] |= {"rangemode": "tozero"}
    return {"data": data, "layout": layout}


def _log_range(curves: Sequence[tuple[Floats, Floats]]) -> dict[str, Any]:
    """From the fastest 0.2 % of any curve to its end, so that a few early ones do not rule."""
    spans = [
        (float(v[np.searchsorted(f, 0.002)]), float(v[-1]))
        for v, f in curves
        if v.size and v[-1] > 0 and f[-1] >= 0.002
    ]
    low = min((start for start, _ in spans if start > 0), default=0.0)
    if low <= 0:
        return {}
    return {"range": [float(np.log10(low)) - 0.05, float(np.log10(max(e for _, e in spans))) + 0.1]}


def _line(name: str, x: Floats, y: Floats, colour: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": _numbers(x),
        "y": _numbers(y),
        "line": {"color": colour, "width": 2},
    }


def _numbers(values: Floats) -> list[float | None]:
    """Five significant digits are enough for a picture; NaN becomes a gap."""
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in values]


def _time_unit(time_s: Floats) -> tuple[str, float]:
    """Hours for more than three of them, minutes for more than three, else seconds."""
    span = float(time_s[-1]) if time_s.size else 0.0
    for unit, scale in (("hours", 3600.0), ("minutes", 60.0)):
        if span > 3 * scale:
            return unit, scale
    return "seconds", 1.0


def _layout(title: str, source: str, x: str, y: str) -> dict[str, Any]:
    """Title, axes, and the badge that says where the step times come from."""
    axis = {"gridcolor": GRID, "zeroline": False, "linecolor": GRID, "automargin": True}
    return {
        "title": {"text": title, "x": 0, "xref": "paper", "font": {"size": 15}},
        "font": _FONT | {"size": 12},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 56, "r": 16, "t": 44, "b": 72},
        "legend": {"orientation": "h", "y": 1.01, "yanchor": "bottom", "x": 1, "xanchor": "right"},
        "xaxis": axis | {"title": {"text": x}},
        "yaxis": axis | {"title": {"text": y}},
        "annotations": [_badge(source)],
    }


def _badge(source: str) -> dict[str, Any]:
    return {
        "text": source,
        "xref": "paper",
        "yref": "paper",
        "x": 1,
        "y": 0,
        "yshift": -58,
        "xanchor": "right",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 11, "color": "#7b8794"},
    }


def _mark(level: float) -> dict[str, Any]:
    return {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": level,
        "y1": level,
        "line": {"color": "#9aa5b1", "width": 1, "dash": "dot"},
    }


def _shade(start: float, end: float) -> dict[str, Any]:
    return {
        "type": "rect",
        "yref": "paper",
        "x0": start,
        "x1": end,
        "y0": 0,
        "y1": 1,
        "fillcolor": "#9aa5b1",
        "opacity": 0.15,
        "line": {"width": 0},
        "layer": "below",
    }
