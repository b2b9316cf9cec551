"""A cache that is full before the first message comes.

Dialogues that are under way have a past, minutes of prefill that nobody wants to wait for in each
run. As in the simulator (`policy.kv.warmth.remember`) prompts are admitted, named and released by
policy's own functions, and nothing is computed: their pages hold whatever they held. What a step
takes does not hang on the values in the pages; answers mean nothing with random weights anyway.
"""

import numpy as np

from calibrate.engine.engine import Engine
from calibrate.engine.requests import Answer, Request
from calibrate.engine.sequences import new_sequence
from calibrate.fidelity.workload import Message, Workload
from kaiju_sim.engine.policy.kv.host import settle
from kaiju_sim.engine.policy.kv.memory import admit, end_prefill, leave

UNNUMBERED = 1 << 40
"""Numbers of remembered prompts begin here: no message has them."""


def warm_up(engine: Engine, workload: Workload) -> None:
    """Leave the workload's warm prompts in an empty engine's cache, in their order."""
    mirror = engine.mirror
    told, mirror.on_admit = mirror.on_admit, lambda q: None
    for number, message in enumerate(workload.warm):
        _remember(engine, message, UNNUMBERED + number)
    mirror.on_admit = told
    mirror.take_copies()
    settle(mirror.engine)
    mirror.conserve()


def _remember(engine: Engine, message: Message, number: int) -> None:
    """One prompt, in the engine's first record, which is free."""
    mirror, e = engine.mirror, engine.mirror.engine
    request = Request(np.broadcast_to(np.int32(0), (message.prompt,)), 1, message.path)
    new_sequence(engine.world, 0, Answer(request, 0, number))
    if not admit(e, 0, 0, 0):
        return
    v = e.requests[0]
    v.number = 1  # the mirror gives pages when it is written
    start, block = int(v.prompt - v.todo), 1 << e.limits.shift
    while start < message.prompt:
        count = min(block, message.prompt - start)
        mirror.begin(0, start, count)
        start += count
        if start < message.prompt:
            mirror.end(0, start)
    end_prefill(e, 0, 0)
    mirror.computed(0)
    leave(e, 0, 0, message.prompt + 1, int(v.blocks))
    mirror.left(0)
