"""The character store: definitions and their versions."""

import numpy as np
from numpy.typing import NDArray

from kaiju_sim import rng
from kaiju_sim.errors import UserError
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.workload.laws import draws, make_laws


def definition_tokens(s: Scenario) -> NDArray[np.int32]:
    """Tokens of each character's definition, drawn once per character.

    UserError if the longest, with date and persona, leaves no room under `prompt.limit`.
    """
    laws = make_laws([s.characters.definition_tokens])
    who = np.arange(s.characters.count, dtype=np.int64)
    u = np.asarray(rng.uniform(s.seed, rng.DEFINITION, who, 0))  # type: ignore[arg-type]
    tokens = (draws(laws, 0, u) + 0.5).astype(np.int64)
    most = int(tokens.max()) + s.prompt.date_tokens + s.prompt.persona_tokens
    if s.traffic.kind != "replay" and most >= s.prompt.limit:
        raise UserError(
            f"prompt.limit is {s.prompt.limit} tokens, but date, definition and persona take up to"
            f" {most}: raise prompt.limit or shorten characters.definition_tokens"
        )
    return tokens.astype(np.int32)
