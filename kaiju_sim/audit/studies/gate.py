"""Studies of the safety gate before the model."""

from kaiju_sim.audit import figures
from kaiju_sim.audit.cells import Cell
from kaiju_sim.audit.studies.fleet import PUBLISHED
from kaiju_sim.audit.studies.study import Study


def gated(name: str, *sets: str) -> Cell:
    """`PUBLISHED` with an override that has a safety gate."""
    return Cell("published", (name,), (*PUBLISHED.sets[:-1], "results.request_rows=0", *sets))


# As shipped, and with thresholds at which the gate blocks what the case study says.
GATED = gated("gate")
_STRICT = "safety.thresholds={adult: 0.9, teen: 0.9}"
FEW, FEW_AFTER = gated("gate", _STRICT), gated("no-pre-gate", _STRICT)


STUDIES = (
    Study(
        "38",
        "share of messages that the gate blocks (a sixteenth of published; 3 % of messages"
        " violate)",
        (GATED,),
        figures.share("requests.blocked_pre", "requests.arrived"),
        "of messages",
    ),
    Study(
        "38",
        "the same with thresholds of 0.9 in place of 0.6 and 0.4, which let most of those pass",
        (FEW,),
        figures.share("requests.blocked_pre", "requests.arrived"),
        "of messages",
    ),
    Study(
        "38",
        "share of the tokens generated per answer that blocking before the model saves, at that"
        " rate",
        (FEW, FEW_AFTER),
        figures.saved(figures.generated_per_answer),
        "of tokens",
    ),
    Study(
        "38",
        "share of the prompt tokens computed per message that it saves (answers that are thrown"
        " away void their dialogues' windows)",
        (FEW, FEW_AFTER),
        figures.saved(figures.prefill_per_message),
        "of tokens",
    ),
)
