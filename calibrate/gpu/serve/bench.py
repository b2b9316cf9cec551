"""The serving engine on the model that a job measures, for its cost on the host."""

from calibrate.design.serving import MOST_REQUESTS, TOKEN_BUDGET
from calibrate.engine.clock import WallClock
from calibrate.engine.steady import SteadyLoad, Watched
from calibrate.gpu.engine import Engine
from calibrate.gpu.serve.executor import ModelExecutor
from calibrate.gpu.serve.opening import open_engine
from calibrate.shapes import EngineStep
from kaiju_sim.engine.layout import NEVER
from kaiju_sim.engine.limits import Limits
from kaiju_sim.steptime.build import mean_curves
from kernels.common.layout import PAGE


class TorchServing:
    """`calibrate.measure.seam.ServingBench`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._load: SteadyLoad | None = None

    def run(self, sequences: int, seconds: float) -> list[EngineStep]:
        """The engine's steps under a steady load."""
        load = self._load or self._open()
        self._load = None  # an engine in which something fails is not gone on with
        steps = load.run(sequences, seconds)
        self._load = load
        return steps

    def close(self) -> None:
        """Everybody leaves."""
        load, self._load = self._load, None
        if load is not None:
            load.close()

    def _open(self) -> SteadyLoad:
        runner = self._engine.runner
        seen: list[Watched] = []

        def wrap(executor: ModelExecutor) -> Watched:
            seen.append(Watched(executor))
            return seen[0]

        engine = open_engine(
            runner, steady_limits(), mean_curves(1e7), WallClock(), MOST_REQUESTS, wrap=wrap
        )
        return SteadyLoad(engine, seen[0], self._engine.config.vocab)


def steady_limits() -> Limits:
    """Plain rules: decodes first, everything cached, nobody shed."""
    return Limits(
        replicas=1, seed=0, policy=0, token_budget=TOKEN_BUDGET, max_seqs=MOST_REQUESTS,
        shift=PAGE.bit_length() - 1, window=0, windows=1, retain=2, prefix_cache=1,
        cache_generated=1, stride=4, ring=64, warm_ns=0, horizon_ns=NEVER, segments=1,
        segment_ns=0, ttft_ns=NEVER, paid_ttft_ns=NEVER, tpot_ns=NEVER, e2e_ns=NEVER, priority=0,
        queue_limit=NEVER, shed_late=0, candidates=1, chunk=1, extra=0,
    )  # fmt: skip
