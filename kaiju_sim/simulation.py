"""The main path: from a scenario to a result, naming each part in the order in which it acts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from kaiju_sim.catalog.models import find_model
from kaiju_sim.errors import UserError
from kaiju_sim.evals.persona.level import persona_level
from kaiju_sim.executor.choose import opened
from kaiju_sim.executor.seam import Executor, InProcess, counted, in_order
from kaiju_sim.fleet.control import CellResult, CellRun, Plane
from kaiju_sim.fleet.setup.build import Plant
from kaiju_sim.fleet.setup.groups import build_groups
from kaiju_sim.incidents.report import Entry
from kaiju_sim.incidents.report import entries as incident_entries
from kaiju_sim.incidents.report import joined as joined_entries
from kaiju_sim.incidents.runbook import play
from kaiju_sim.incidents.variants import plants_of
from kaiju_sim.metrics.levels.alerts import alert_events
from kaiju_sim.metrics.result import RunResult
from kaiju_sim.metrics.series import series_table
from kaiju_sim.metrics.stats import warmup
from kaiju_sim.metrics.stats.replications import joined, replication_seeds
from kaiju_sim.metrics.stats.sampling import ALL, thinned
from kaiju_sim.metrics.summary import summarise
from kaiju_sim.metrics.tables import event_table, logged, replica_table, request_table
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.workload.replay import Rows, load_rows

MOST_TICK_ROWS = 2e7
MOST_EPOCHS = 1e9
EngineName = Literal["compiled", "reference"]
Progress = Callable[[float], None]


@dataclass(frozen=True)
class CellTask:
    """One cell to simulate, as it is sent to a process."""

    plant: Plant
    index: int
    engine: EngineName
    progress: Progress | None = None


def simulate(
    scenario: Scenario,
    *,
    base_dir: Path = Path(),
    workers: int = 1,
    progress: Progress | None = None,
    engine: EngineName = "compiled",
    executor: Executor | None = None,
) -> RunResult:
    """Simulate the scenario: every message, every engine step, in every cell of the fleet.

    `base_dir` is where the scenario's relative paths start. `progress` is told the fraction done.
    Cells are tasks of the `executor`; without one, of this process or a pool of `workers`.
    UserError for what only shows when parts meet (unknown names, memory that does not suffice).
    """
    plants = plants_of(build_plant(scenario, base_dir))
    runs = list(simulated(plants, workers, engine, progress, executor))
    return with_incidents(result_of(plants[0], runs[0]), [told(plants, runs)])


def replicate(
    scenario: Scenario,
    replications: int,
    *,
    base_dir: Path = Path(),
    workers: int = 1,
    progress: Progress | None = None,
    engine: EngineName = "compiled",
    executor: Executor | None = None,
) -> RunResult:
    """Independent replications of the scenario as one result: means, with 95 % intervals.

    Replication 0 is `simulate(scenario)`, the others have seeds derived from the scenario's
    (`replication_seeds`); cells and replications share one executor, or one pool of `workers`.
    """
    if replications == 1:
        return simulate(
            scenario,
            base_dir=base_dir,
            workers=workers,
            progress=progress,
            engine=engine,
            executor=executor,
        )
    plant = build_plant(scenario, base_dir, replications)
    seeds = replication_seeds(scenario.seed, replications)
    groups = [
        plants_of(replace(plant, scenario=plant.scenario.model_copy(update={"seed": seed})))
        for seed in seeds
    ]
    done = simulated([p for group in groups for p in group], workers, engine, progress, executor)
    results, entries = [], []
    for plants in groups:
        runs = [next(done) for _ in plants]
        results.append(result_of(plants[0], runs[0], replications))
        entries.append(told(plants, runs))
    return with_incidents(joined(results, seeds), entries)


def simulated(
    plants: Sequence[Plant],
    workers: int,
    engine: EngineName,
    progress: Progress | None,
    executor: Executor | None = None,
) -> Iterator[list[CellResult]]:
    """The cells of each plant, simulated: tasks of the executor, or of a pool of `workers`."""
    per_plant = plants[0].scenario.fleet.cells
    total = len(plants) * per_plant
    with nullcontext(executor) if executor else opened(workers=min(workers, total)) as where:
        alone = isinstance(where, InProcess)
        if engine == "compiled" and not alone:
            warm_up()
        inner = part_of(progress, total) if alone else None
        tasks = [CellTask(plant, i, engine, inner) for plant in plants for i in range(per_plant)]
        found = counted(where.map(run_cell, dict(enumerate(tasks))), total, progress)
        cells: list[CellResult] = []
        for result in in_order(found):
            cells.append(result)
            if len(cells) == per_plant:
                yield cells
                cells = []


def told(plants: Sequence[Plant], runs: Sequence[Sequence[CellResult]]) -> list[Entry]:
    """What the incidents of a run came to, if there are any."""
    return incident_entries(plants, runs) if len(plants) > 1 else []


def with_incidents(result: RunResult, replications: Sequence[list[Entry]]) -> RunResult:
    """The result, with the incidents of its replications in the summary."""
    if not replications[0]:
        return result
    return replace(result, summary=result.summary | {"incidents": joined_entries(replications)})


def result_of(plant: Plant, cells: Sequence[CellResult], replications: int = 1) -> RunResult:
    """Summary and tables of a run, from what its cells left; it has its share of the rows."""
    found = warmup.detect(cells, plant.scenario)
    scenario, cells = warmup.resolved(plant.scenario, cells, found)
    plant = replace(plant, scenario=scenario)
    share, requests = thinned(
        cells[0].sample / ALL,
        request_table(scenario, cells),
        scenario.seed,
        scenario.results.request_rows // replications,
    )
    stated = {"run.replications": 1, "results.sample_share": share} | persona_level(scenario)
    return RunResult(
        summary=summarise(plant, cells) | found.figures(scenario) | stated,
        requests=requests,
        replicas=replica_table(scenario, cells),
        series=series_table(cells, scenario.results.tick, scenario.fleet.shard_replicas),
        events=event_table(cells, alert_events(scenario, logged(cells))),
    )


def build_plant(scenario: Scenario, base_dir: Path, replications: int = 1) -> Plant:
    """GPU, model, step time, memory plan and trace that the scenario names."""
    check_size(scenario, replications)
    model = find_model(scenario.model)
    groups = build_groups(scenario, base_dir)
    rows = load_rows(scenario, base_dir)
    first = groups[0]
    scenario = ends_with(scenario, rows)
    check_warm_up(scenario)
    return Plant(scenario, first.gpu, model, first.step_time, first.kv, rows, groups)


def ends_with(s: Scenario, rows: Rows | None) -> Scenario:
    """The scenario, its horizon no later than the end of the trace that it replays."""
    if rows is None:
        return s
    end_s = float(rows.arrival_ns[-1]) * 1e-9 + s.run.epoch
    if end_s >= s.run.horizon or end_s <= s.run.measured_from:
        return s
    return s.model_copy(update={"run": s.run.model_copy(update={"horizon": end_s})})


def check_size(s: Scenario, replications: int = 1) -> None:
    """UserError for intervals so short that a run would never end or fill the memory."""
    length = s.run.horizon + s.run.drain
    replicas = s.fleet.most_replicas * replications
    rows = length / s.results.tick * replicas
    least_s = length * replicas / MOST_TICK_ROWS
    if rows > MOST_TICK_ROWS:
        raise UserError(
            f"results.tick of {s.results.tick:g} s makes {rows:.3g} rows of replicas.parquet; at"
            f" most {MOST_TICK_ROWS:g}: choose at least {least_s:g} s"
        )
    if s.run.horizon / s.run.epoch > MOST_EPOCHS:
        raise UserError(
            f"run.epoch of {s.run.epoch:g} s makes over {MOST_EPOCHS:g} epochs: choose at least"
            f" {s.run.horizon / MOST_EPOCHS:g} s"
        )


def check_warm_up(s: Scenario) -> None:
    """UserError for a warm-up that is to be detected where there is nothing to detect it in."""
    if s.run.warm_up == "auto" and not warmup.testable(s):
        raise UserError(
            f"run.warm_up: auto needs traffic without traffic.diurnal and {warmup.LEAST_VALUES}"
            " ticks (results.tick) before run.horizon, or the end of the trace"
        )


def run_cell(task: CellTask) -> CellResult:
    """Simulate one cell."""
    return CellRun(task.plant, task.index, data_plane(task.engine), play).run(task.progress)


def data_plane(engine: EngineName) -> Plane:
    """The loop that advances a cell: compiled, or its plain Python specification."""
    if engine == "reference":
        from kaiju_sim.fleet.reference import ReferencePlane

        return ReferencePlane()
    from kaiju_sim.fleet.compiled import compiled_run_until

    return compiled_run_until()


def part_of(progress: Progress | None, parts: int) -> Progress | None:
    """Progress of parts that run one after the other: the fraction of the whole."""
    if progress is None:
        return None
    done = [0, 0.0]

    def told(fraction: float) -> None:
        if fraction < done[1]:
            done[0] += 1
        done[1] = fraction
        progress(min(1.0, (done[0] + fraction) / parts))

    return told


def is_warm() -> bool:
    """Whether the compiled loop is in the cache, so that a run starts at once."""
    from kaiju_sim.fleet.compiled import is_warm

    return is_warm()


def warm_up() -> None:
    """Compile the data plane, or load it from the cache."""
    scenario = Scenario.model_validate(
        {
            "schema_version": 1,
            "name": "warm-up",
            "run": {"warm_up": 0.0, "horizon": 1.0, "epoch": 0.5},
            "traffic": {"kind": "poisson", "messages_per_s": 1.0},
        }
    )
    run_cell(CellTask(build_plant(scenario, Path()), 0, "compiled"))
