"""Sliders that stand in the address."""

import streamlit as st


def number(
    label: str, ends: tuple[float, float], start: float, step: float, key: str, form: str = "%.5g"
) -> float:
    """A number between two ends."""
    return float(st.slider(label, *ends, start, step, format=form, key=key, bind="query-params"))


def whole(label: str, ends: tuple[int, int], start: int, step: int, key: str) -> int:
    """A whole number between two ends."""
    return int(st.slider(label, *ends, start, step, key=key, bind="query-params"))


def around(label: str, start: float, key: str) -> float:
    """From a quarter to twice of where it stands."""
    return number(label, (start / 4, start * 2), start, start / 100, key)
