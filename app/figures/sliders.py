"""What the sliders of the Answer page stand at, and the scenario settings that they mean."""

from dataclasses import asdict, dataclass
from typing import Any

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.fleet.setup.groups import build_groups
from kaiju_sim.scenario.loader import Loaded
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.workload.laws import mean_of

GPUS = ("H100-80GB", "H200", "A100-80GB")
"""GPUs that the page offers."""
SUBSCRIPTION, MESSAGES = 10.0, 600
"""Where a scenario states neither: the case study's price, messages of its subscriber a month."""
WINDOW = ("run.warm_up=1min", "run.horizon=3min", "run.drain=1min")
"""Two minutes of the scenario's beginning: enough for an answer in seconds."""
REPLICATIONS = 3


@dataclass(frozen=True)
class Sliders:
    """Where the sliders stand."""

    load: float
    """Messages/s."""
    ttft: float
    """Objective for the first token, s."""
    turns: float
    """Messages of a dialogue."""
    definition: float
    """Tokens of a character's definition."""
    step: int
    """Tokens by which a prompt over the limit is cut."""
    gpu: str
    price: float
    """USD per GPU hour."""
    replicas: int
    """Of the fleet that is simulated."""
    subscription: float
    """USD a month."""
    messages: int
    """Of a subscriber, a month."""


def start_of(found: Loaded) -> Sliders:
    """Where they stand for a scenario as shipped."""
    s = found.scenario
    group = build_groups(s, found.base_dir)[0]
    return Sliders(
        load=float(s.traffic.messages_per_s or 0.0),
        ttft=s.slo.ttft or 2.5,
        turns=mean_of(s.traffic.sessions.turns),
        definition=mean_of(s.characters.definition_tokens),
        step=s.prompt.truncation_step,
        gpu=s.gpu,
        price=group.usd_per_hour,
        replicas=s.fleet.replicas,
        subscription=s.economics.subscription or SUBSCRIPTION,
        messages=int(s.economics.messages_per_subscriber_month or MESSAGES),
    )


def catalog_price(gpu: str) -> float:
    """Price of a GPU by the catalog, USD an hour."""
    return float(find_gpu(gpu).price.usd_per_hour)


def settings(start: Sliders, now: Sliders, s: Scenario) -> list[str]:
    """`--set` for every slider that was moved, and the price and subscription that margins need."""
    was, is_ = asdict(start), asdict(now)
    sets = {
        "load": f"traffic.messages_per_s={now.load:g}",
        "ttft": f"slo.ttft={now.ttft:g}s",
        "turns": _mean("traffic.sessions.turns", s.traffic.sessions.turns, now.turns),
        "definition": _mean(
            "characters.definition_tokens", s.characters.definition_tokens, now.definition
        ),
        "step": f"prompt.truncation_step={now.step}",
        "gpu": f"gpu={now.gpu}",
        "price": f"economics.gpu_price={now.price:g} USD/h",
        "replicas": f"fleet.replicas={now.replicas}",
    }
    moved = [text for name, text in sets.items() if was[name] != is_[name]]
    return [
        *moved,
        *live(start, now, s),
        f"economics.subscription={now.subscription:g} USD/month",
        f"economics.messages_per_subscriber_month={now.messages}",
    ]


def live(start: Sliders, now: Sliders, s: Scenario) -> list[str]:
    """More load is more dialogues under way, each as busy as before."""
    count = s.traffic.sessions.live
    if s.traffic.kind != "sessions" or not count or start.load == now.load:
        return []
    return [f"traffic.sessions.live={round(count * now.load / start.load)}"]


def _mean(path: str, law: Any, mean: float) -> str:
    """The setting that gives a law another mean; its shape stays."""
    if hasattr(law, "mean"):
        return f"{path}.mean={mean:g}"
    return f"{path}={{kind: constant, value: {round(mean)}}}"
