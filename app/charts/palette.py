"""Colours that colour-blind people tell apart, on light and on dark ground alike."""

from collections.abc import Mapping, Sequence

BLUE, ORANGE, GREEN, PINK, SKY, GREY = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#767676"),
)
"""Okabe and Ito's colours; the yellow and the black are left out (one vanishes on light ground,
the other on dark)."""
SERIES = (BLUE, ORANGE, GREEN, PINK, SKY, GREY)
"""In the order in which series take them."""
VERDICTS: Mapping[str, str] = {"holds": GREEN, "unsupported": GREY}
REFUTED = ORANGE


def of_verdicts(names: Sequence[str]) -> list[str]:
    """A colour for each verdict of the audit: holds, unsupported, and all that is refuted."""
    return [VERDICTS.get(name, REFUTED) for name in names]


def colours(count: int) -> list[str]:
    """So many colours; they come again after the sixth, told apart by their dashes."""
    return [SERIES[i % len(SERIES)] for i in range(count)]
