"""The words of every key `safety.*`, in the form that `report.definitions` has."""

_SUBJECTS = {"pre": "messages", "post": "answers"}
_RATES = {
    "block_rate": ("Blocked", "judged", "Blocked / judged"),
    "false_positive_rate": (
        "False positives",
        "of harmless",
        "Benign and benign-but-intense ones blocked / judged",
    ),
    "intense_false_positive_rate": (
        "False positives, intense",
        "of intense",
        "Benign-but-intense ones blocked / judged",
    ),
    "detection_rate": ("Detected", "of violating", "Violating ones blocked / judged"),
}
_ENDS = {
    "": "",
    "_low": " Low end of the 95 % interval (Wilson); with replications, its mean.",
    "_high": " High end of it.",
}
_TIMES = {
    "wait_s": ("Wait at the gate", "From arrival to a server of the gate (or to the time-out)."),
    "stay_s": (
        "Time at the gate",
        "From arrival to the verdict: with `safety.pre: before`, what the gate adds to the time to"
        " first token.",
    ),
    "refusal_s": ("Time to a refusal", "From arrival to the refusal, messages blocked before."),
}
_STATISTICS = {
    "p50": "Median.",
    "p90": "90 % are at or below this.",
    "p99": "99 % are at or below this.",
    "mean": "Mean.",
}
_ROC = {"0p1": "0.1", "1": "1", "5": "5", "10": "10"}
_SUMS = """
safety.pre.utilisation | Gate busy | of time | fraction
  Time in which servers of the gate work / time, mean over servers and over the measured time.
safety.unchecked | Passed unchecked | messages | count
  Messages of the cohort that passed without a verdict: queue full, too late, or gate down (open).
safety.refused | Refused unchecked | messages | count
  Messages of the cohort that were refused without a verdict, for the same reasons (closed).
safety.wrongly | Wrongly refused | messages | count
  Messages of the cohort that were blocked, before or after the model, and do not violate.
safety.left | Refused users who left | dialogues | count
  Users who left for good when they were refused.
safety.reworded | Refused, reworded | messages | count
  Messages that came again in other words.
safety.dropped | Refused, dropped | messages | count
  Turns given up; the dialogue went on with its next one.
safety.cut | Answers ended by the head | messages | count
  Answers that ended before their last chunk, as all candidates were dropped.
"""


def _stage(stage: str, tier: str) -> list[str]:
    """Lines of one stage and one age tier."""
    what, start = _SUBJECTS[stage], f"safety.{stage}.{tier}"
    who = f"{what}, {tier}s"
    lines = [f"{start}.checked | Judged {who} | messages | count"]
    lines.append(f"  {what.capitalize()} of the cohort that the gate judged.")
    for key, (label, unit, text) in _RATES.items():
        for end, words in _ENDS.items():
            which = end.replace("_", ", ")
            lines.append(f"{start}.{key}{end} | {label}, {who}{which} | {unit} | fraction")
            lines.append(f"  {text}.{words}")
    lines.append(f"{start}.auc | Area under the ROC, {who} |  | number")
    lines.append("  The chance that a violating one scores above a harmless one.")
    for key, percent in _ROC.items():
        label = f"Detected at {percent} % false positives"
        lines.append(
            f"{start}.detection_at_{key}_percent | {label}, {who} | of violating | fraction"
        )
        lines.append("  A point of the ROC: what the threshold with that rate would detect.")
    return lines


def _times() -> list[str]:
    lines = []
    for key, (label, text) in _TIMES.items():
        for statistic, words in _STATISTICS.items():
            lines.append(f"safety.pre.{key}.{statistic} | {label}, {statistic} | s | duration")
            lines.append(f"  {text} {words}")
    return lines


def _all() -> str:
    stages = [_stage(stage, tier) for stage in _SUBJECTS for tier in ("adult", "teen")]
    lines = ["[Safety gate]", *(line for stage in stages for line in stage), *_times()]
    return "\n".join(lines) + _SUMS


SAFETY = _all()
"""Keys of the safety gate; all are null where there is none."""
