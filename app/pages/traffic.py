import streamlit as st
from app.ui.frame import heading, page


def draw() -> None:
    heading("Answer", "How?")


page(draw)
