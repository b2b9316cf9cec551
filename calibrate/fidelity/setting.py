"""What an engine had: limits, blocks, bounds. The simulator gets exactly the same."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from calibrate.engine.engine import Sizes
from kaiju_sim.engine.limits import Limits
from kaiju_sim.errors import UserError
from kaiju_sim.steptime.convert import curves_from_profile
from kaiju_sim.steptime.curves import Curves
from kaiju_sim.steptime.profile import Profile


@dataclass(frozen=True)
class Setting:
    """One replica: as the engine was built, and as the simulator is."""

    limits: Limits
    blocks: int
    """Of the global pool; the local pool's windows are in the limits."""
    reserve: int
    """Pages of the engine's local pool beside its windows."""
    context: int
    """Tokens of a sequence at most."""

    def sizes(self, inside: int) -> Sizes:
        """For an engine that takes so many requests."""
        return Sizes(self.blocks, self.reserve, self.context, inside)

    def as_json(self) -> dict[str, Any]:
        """Of plain values."""
        return {**asdict(self), "limits": self.limits._asdict()}


def setting_of(value: Mapping[str, Any]) -> Setting:
    """From `as_json`; UserError for what is none."""
    try:
        return Setting(**{**value, "limits": Limits(**value["limits"])})
    except (KeyError, TypeError) as error:
        raise UserError(f"the run's setting cannot be read: {error}") from error


def curves_for(profile: Profile, limits: Limits) -> Curves:
    """Step times of a profile, as far as steps of an engine with these limits reach."""
    return curves_from_profile(profile, limits.token_budget + limits.max_seqs, limits.max_seqs)


def without_engine(profile: Profile) -> Profile:
    """The profile without the engine's own host time between two steps, where it states one."""
    if "engine_host" not in type(profile).model_fields:
        return profile
    return profile.model_copy(update={"engine_host": None})
