"""The seam: same results everywhere, each once, whatever is lost on the way."""

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from executor_jobs import Job, alive, square, starts

from kaiju_sim.errors import UserError
from kaiju_sim.executor.choose import opened, run_tasks
from kaiju_sim.executor.pool import Pool
from kaiju_sim.executor.seam import (
    ATTEMPTS,
    Executor,
    InProcess,
    TaskLostError,
    counted,
    in_order,
)

WITHOUT_RAY = """
import sys
sys.modules["ray"] = None
from kaiju_sim.cli import main
sys.exit(main(["run", "baseline", "--executor", "ray", "-q"]))
"""


def jobs(folder: Path, count: int, **how: object) -> dict[int, Job]:
    return {i: Job(i, folder)._replace(**how) for i in range(count)}


def test_order_is_restored_and_progress_told() -> None:
    told: list[float] = []
    late = ((key, key * 10) for key in (2, 0, 1, 3))
    assert list(in_order(counted(late, 4, told.append))) == [0, 10, 20, 30]
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_a_pool_gives_what_one_process_gives_and_survives_deaths(tmp_path: Path) -> None:
    """Of six jobs one dies twice: it ends like the others, and no key comes twice."""
    tasks = jobs(tmp_path, 6)
    tasks[2] = tasks[2]._replace(deaths=2)
    with closing(Pool(2)) as pool:
        found = list(pool.map(square, tasks))
        assert sorted(found) == sorted(InProcess().map(square, jobs(tmp_path, 6)))
        assert starts(tmp_path, 2) == 4  # two deaths, the third in the pool, once in this process
        again = list(pool.map(square, jobs(tmp_path, 2)))
    assert sorted(again) == [(0, 0), (1, 1)]
    assert not alive(tmp_path)


def test_a_task_that_always_takes_its_process_along_ends_the_run(tmp_path: Path) -> None:
    tasks = {"bad": Job(1, tmp_path, deaths=99)}
    with (
        closing(Pool(1)) as pool,
        pytest.raises(TaskLostError, match=f"bad lost its process {ATTEMPTS}"),
    ):
        list(pool.map(square, tasks))
    assert starts(tmp_path, 1) == ATTEMPTS


def test_errors_come_through_and_nothing_is_left_running(tmp_path: Path) -> None:
    tasks = jobs(tmp_path, 4, rest_s=60.0)
    tasks[9] = Job(-1, tmp_path)
    begun = time.monotonic()
    with closing(Pool(5)) as pool, pytest.raises(UserError, match=r"jobs.yaml:3: a negative"):
        list(pool.map(square, tasks))
    assert time.monotonic() - begun < 40
    assert not alive(tmp_path)


def test_who_stops_early_leaves_no_processes(tmp_path: Path) -> None:
    tasks = [Job(0, tmp_path), *(Job(i, tmp_path, rest_s=60.0) for i in (1, 2, 3))]
    with closing(run_tasks(square, tasks, 2)) as results:  # type: ignore[type-var]
        assert next(iter(results)) == 0
    assert not alive(tmp_path)


def test_the_executor_follows_the_workers() -> None:
    def kind(**how: object) -> type[Executor]:
        with opened(**how) as executor:  # type: ignore[arg-type]
            return type(executor)

    assert (kind(), kind(workers=2), kind(kind="pool")) == (InProcess, Pool, Pool)
    with pytest.raises(UserError, match="needs --executor ray"):
        kind(address="auto")


def test_without_ray_a_run_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RAY],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "kaiju-fleet-planner[cluster]" in done.stderr
    assert done.stderr.count("\n") == 1


def test_ray_is_imported_by_nobody_who_does_not_ask() -> None:
    code = (
        "import sys; from kaiju_sim.executor import run_tasks; import kaiju_sim.simulation;"
        " list(run_tasks(str, [1], 1)); sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
