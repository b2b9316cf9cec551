"""The HTML report: one self-contained file made from a run directory."""

from kaiju_sim.report.html.render import render, write_report

__all__ = ["render", "write_report"]
