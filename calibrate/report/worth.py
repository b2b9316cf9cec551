"""What each design choice is worth: tokens per second of the model and of its variants."""

from pathlib import Path
from typing import Any

from calibrate.design.lists.variants import CONTEXT, LARGEST, UNDOES, VARIANTS, variant_of
from calibrate.provenance import profile_id
from calibrate.report.steps import Measured, shown_steps
from calibrate.samples import read_job
from kaiju_sim.catalog.models import find_model

Line = dict[str, Any]
AS_DESIGNED = "as-designed"
"""The model itself, measured on the card of its variants: its profile may be of a later one."""


def worth_lines(samples: Path, job: dict[str, Any]) -> list[Line]:
    """The model and its variants on the same kind of card, each at its largest batch; the first
    line is the model. None where the model itself has no such step."""
    found = [_line(samples, job, variant) for variant in (None, *VARIANTS)]
    lines = [line for line in found if line is not None]
    if found[0] is None:
        return []
    base = found[0]["tokens_per_s_per_gpu"]
    return [{**line, "worth": base / line["tokens_per_s_per_gpu"]} for line in lines]


def _line(samples: Path, job: dict[str, Any], variant: str | None) -> Line | None:
    ranks: int = job["tensor_parallel"]
    name = samples_id(samples, (job["gpu"], job["model"], ranks), variant)
    steps = shown_steps(samples / name)
    step = _largest(steps)
    if step is None:
        return None
    model = find_model(job["model"])
    model = model if variant is None else variant_of(model, variant)
    batch, its = len(step.shape.decodes), read_job(samples / name)
    return {
        "id": name,
        "variant": variant,
        "undoes": UNDOES[variant] if variant else "",
        "batch": batch,
        "step_ms": step.wall_s * 1e3,
        "step_ms_at_64": next((s.wall_s * 1e3 for s in steps if s.name == "b64"), None),
        "tokens_per_s_per_gpu": batch / step.wall_s / ranks,
        "weights_gb": model.rank_weight_bytes(ranks) / 1e9,
        "kv_mb_per_sequence": model.kv_store_bytes(CONTEXT) / 1e6,
        "card": _card(its),
    }


def samples_id(samples: Path, known: tuple[str, str, int], variant: str | None) -> str:
    """Whose samples they are, of a GPU, a model and ranks: the model's own, but from the card of
    its variants if there are some."""
    beside = profile_id(*known, AS_DESIGNED)
    is_beside = variant is None and (samples / beside).is_dir()
    return beside if is_beside else profile_id(*known, variant)


def _card(job: dict[str, Any]) -> str | None:
    """Which card it was: figures of one table should be of one."""
    sessions = job.get("sessions")
    uuid: str | None = sessions[-1]["card"].get("uuid") if sessions else None
    return uuid


def _largest(steps: list[Measured]) -> Measured | None:
    decodes = [step for step in steps if 0 < len(step.shape.decodes) <= LARGEST]
    return max(decodes, key=lambda step: len(step.shape.decodes), default=None)
