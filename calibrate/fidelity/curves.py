"""Step times for an engine of certain limits, from a profile."""

from kaiju_sim.engine.limits import Limits
from kaiju_sim.steptime.convert import curves_from_profile
from kaiju_sim.steptime.curves import Curves
from kaiju_sim.steptime.profile import Profile


def curves_for(profile: Profile, limits: Limits) -> Curves:
    """Step times of a profile, as far as steps of an engine with these limits reach."""
    return curves_from_profile(profile, limits.token_budget + limits.max_seqs, limits.max_seqs)


def without_engine(profile: Profile) -> Profile:
    """The profile without the engine's own host time between two steps, where it states one."""
    return profile.model_copy(update={"engine_host": None})
