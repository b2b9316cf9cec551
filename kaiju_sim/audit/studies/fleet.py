"""Studies of the fleet: its load, its caches, its router, its price."""

from kaiju_sim.audit import figures
from kaiju_sim.audit.cells import Cell
from kaiju_sim.audit.studies.study import Study

LOOSE_S, TIGHT_S = 2.5, 0.8

# The peak hour of `baseline` in a quarter of an hour; the same with its table lost as it begins.
_PEAK_TIMES = ("run.warm_up=10min", "run.horizon=25min", "run.drain=2min", "results.request_rows=0")
PEAK = Cell("baseline", sets=_PEAK_TIMES)
NO_AFFINITY = Cell("baseline", ("no-affinity",), _PEAK_TIMES)
LOST = Cell("baseline", sets=(*_PEAK_TIMES, "fleet.changes=[{at: 10min, action: lose_table}]"))
EDITED = Cell(
    "baseline",
    sets=(
        "run.warm_up=8min",
        "run.horizon=20min",
        "run.drain=2min",
        "fleet.replicas=14",
        "traffic.messages_per_s=226",
        "traffic.sessions.live=12500",
        "characters.edits_per_hour=600",
        "characters.pinning=none",
        "results.request_rows=3000000",
    ),
    extra="rewarm",
)
CASE_STUDY = Cell(
    "case_study",
    sets=(
        "fleet.cells=1",
        "fleet.replicas=150",
        "traffic.messages_per_s=2500",
        "results.request_rows=0",
    ),
)
PUBLISHED = Cell(
    "published",
    sets=(
        "fleet.cells=1",
        "fleet.replicas=25",
        "traffic.messages_per_s=1250",
        "traffic.sessions.live=56250",
        "results.request_rows=100000",
    ),
    extra="kv_saving",
)


def loaded(per_gpu: float, *sets: str, gpus: int = 8) -> Cell:
    """A few GPUs of `published` under that many messages/s each, dialogues in proportion."""
    rate = round(per_gpu * gpus)
    return Cell(
        "published",
        sets=(
            "fleet.cells=1",
            f"fleet.replicas={gpus}",
            f"traffic.messages_per_s={rate}",
            f"traffic.sessions.live={rate * 45}",
            "run.horizon=7min",
            "results.request_rows=0",
            *sets,
        ),
    )


# Loads around the one at which the p99 of TTFT leaves the objectives behind.
RISING = tuple(loaded(x) for x in (59, 62, 64, 65, 66, 67, 68, 70))
_ROOFLINE = "steptime.kind=roofline"
AWARE = tuple(
    loaded(x, "engine.policy=ttft_aware", f"slo.ttft={ttft}")
    for ttft in ("800ms", "2.5s")
    for x in (62, 64, 66, 68)
)
USUAL = tuple(loaded(x, _ROOFLINE) for x in (56, 59, 62, 65, 68, 71))
MHA = tuple(loaded(x, _ROOFLINE, "model=kaiju-13b-mha") for x in (3, 3.5, 4, 4.5, 5, 6))

STUDIES = (
    Study(
        "10",
        "share of GPU time that is prefill, at baseline's peak",
        (PEAK,),
        figures.of_last("cost.input_share"),
    ),
    Study(
        "13",
        "share of 50,000 messages a second that 3,000 A100 complete (a twentieth of case_study)",
        (CASE_STUDY,),
        figures.share_served,
    ),
    Study(
        "16",
        "GPU cost of a message at baseline's peak of 904 a second (56 H100 at 2.35 USD/h)",
        (PEAK,),
        figures.of_last("cost.usd_per_message"),
        "USD/message",
    ),
    Study(
        "16",
        "GPU cost of a message that 3,000 A100 at 2 USD/h complete of 50,000 a second (a twentieth"
        " of case_study)",
        (CASE_STUDY,),
        figures.of_last("cost.usd_per_message"),
        "USD/message",
    ),
    Study(
        "20",
        "prefix hit rate at baseline's peak",
        (PEAK,),
        figures.of_last("prefix_hit_rate"),
        "cached tokens/prompt token",
    ),
    Study(
        "27",
        "times the cost of a message with MHA instead of MQA, each fleet as small as a p99 TTFT of"
        " 2.5 s allows (published traffic, Kaiju 13B)",
        (*USUAL, *MHA),
        figures.cost_ratio(len(USUAL), LOOSE_S),
        "times",
    ),
    Study(
        "37",
        "p99 of the time until a replica has an edited definition cached again",
        (EDITED,),
        figures.of_last("rewarm_s.p99"),
        "s",
    ),
    Study(
        "40",
        "times the prompt tokens computed per message, round robin against affinity",
        (PEAK, NO_AFFINITY),
        figures.prefill_ratio,
        "times",
    ),
    Study(
        "40",
        "the same in the quarter of an hour after the table is lost and learned anew",
        (PEAK, LOST),
        figures.prefill_ratio,
        "times",
    ),
    Study(
        "41",
        "p99 of TTFT in the quarter of an hour after the table is lost (objective 2.5 s)",
        (LOST,),
        figures.of_last("ttft_s.p99"),
        "s",
    ),
    Study(
        "41",
        "the same with the table kept",
        (PEAK,),
        figures.of_last("ttft_s.p99"),
        "s",
    ),
    Study(
        "51",
        "times the load a GPU carries, so times cheaper, with a p99 TTFT of 2.5 s instead of 0.8 s"
        " (published traffic)",
        (*RISING, *RISING),
        figures.load_ratio(len(RISING), TIGHT_S, LOOSE_S),
        "times",
    ),
    Study(
        "51",
        "the same where prefill is sized by the objective (engine.policy: ttft_aware)",
        AWARE,
        figures.load_ratio(len(AWARE) // 2, TIGHT_S, LOOSE_S),
        "times",
    ),
    Study(
        "P2",
        "prefix hit rate, a sixteenth of published",
        (PUBLISHED,),
        figures.of_last("prefix_hit_rate"),
        "cached tokens/prompt token",
    ),
    Study(
        "P3",
        "times less KV than with 8 KV heads, full attention and no sharing, at the simulated"
        " contexts",
        (PUBLISHED,),
        figures.of_last("kv_saving"),
        "times",
    ),
    Study(
        "P4",
        "GPU cost of an hour of conversation, a sixteenth of published (H100 at 2.35 USD/h)",
        (PUBLISHED,),
        figures.of_last("cost.usd_per_conversation_hour"),
        "USD/hour of conversation",
    ),
)
