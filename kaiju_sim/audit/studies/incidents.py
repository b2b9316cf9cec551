"""Studies of incidents: shipped ones, at an eighth of `baseline`, with their ledgers.

A ledger is the run less the same run without the incident, so that what it says is the incident's
doing. An eighth has the same load on each GPU; shares and ratios are those of the whole, money and
counts an eighth.
"""

from kaiju_sim.audit import figures
from kaiju_sim.audit.cells import Cell
from kaiju_sim.audit.studies.study import Study

EIGHTH = (
    *("fleet.replicas=7", "traffic.messages_per_s=113", "traffic.sessions.live=6250"),
    *("characters.count=2500", "run.warm_up=10min"),
)


def struck(name: str) -> Cell:
    """A shipped incident at an eighth of its size."""
    return Cell(f"incidents/{name}", sets=EIGHTH, extra="incident")


TABLE, REFUSALS, DRIFT = (struck(n) for n in ("table_loss", "false_positives", "int8_drift"))
LEDGER = "incident.ledger."
SOON, LATE = (f"incident.detection_delay[{place}].ledger." for place in (0, 1))

STUDIES = (
    Study(
        "42",
        "dialogues affected by a lost table at baseline's peak, for each that is alive",
        (TABLE,),
        figures.share(LEDGER + "affected_users", "realised.live_sessions"),
        "dialogues/live dialogue",
    ),
    Study(
        "42",
        "churn for each affected dialogue, where few users are subscribers",
        (TABLE,),
        figures.share(LEDGER + "churn_usd", LEDGER + "affected_users"),
        "USD/dialogue",
    ),
    Study(
        "43",
        "GPU money and churn of a lost table, an eighth of baseline (a fixed fleet: no GPU money)",
        (TABLE,),
        figures.of_last(LEDGER + "total_usd"),
        "USD",
    ),
    Study(
        "43",
        "times as much if it is noticed 10 minutes later",
        (TABLE,),
        figures.share(LATE + "total_usd", SOON + "total_usd"),
        "times",
    ),
    Study(
        "44",
        "times the late messages of a lost table that is noticed 10 minutes later",
        (TABLE,),
        figures.share(LATE + "late_messages", SOON + "late_messages"),
        "times",
    ),
    Study(
        "44",
        "times the messages wrongly refused in a false-positive spike that is noticed so late",
        (REFUSALS,),
        figures.share(LATE + "wrongly_refused_messages", SOON + "wrongly_refused_messages"),
        "times",
    ),
    Study(
        "45",
        "share of all messages that a classifier off by 2 in log-odds for teens, a third of the"
        " users, refuses wrongly until it is put back",
        (REFUSALS,),
        figures.refused_of_spike,
        "of messages",
    ),
    Study(
        "45",
        "minutes from the spike's start until it is put right",
        (REFUSALS,),
        figures.minutes("incident.at_s", "incident.acted_s"),
        "min",
    ),
    Study(
        "45",
        "churn for each message wrongly refused",
        (REFUSALS,),
        figures.share(LEDGER + "churn_usd", LEDGER + "wrongly_refused_messages"),
        "USD/message",
    ),
    Study(
        "46",
        "churn of int8 drift on one of 7 shards, an eighth of baseline",
        (DRIFT,),
        figures.of_last(LEDGER + "churn_usd"),
        "USD",
    ),
    Study(
        "46",
        "minutes until a guard on the scales sees it",
        (DRIFT,),
        figures.minutes("incident.at_s", "incident.detected_s"),
        "min",
    ),
    Study(
        "46",
        "minutes until it is over, the shard drained, loaded and warm",
        (DRIFT,),
        figures.minutes("incident.at_s", "incident.recovered_s"),
        "min",
    ),
    Study(
        "46",
        "answers that were wrong, for each dialogue affected",
        (DRIFT,),
        figures.share(LEDGER + "wrong_answers", LEDGER + "affected_users"),
        "answers/dialogue",
    ),
)
