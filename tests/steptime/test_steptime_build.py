"""From a scenario to its step time, for all four kinds."""

from pathlib import Path

import pytest
from steptime_scenarios import scenario, usual_rank

from kaiju_sim.errors import UserError
from kaiju_sim.steptime.build import build_step_time, table_sizes
from kaiju_sim.steptime.convert import profile_from_roofline
from kaiju_sim.steptime.curves import CONSTANT, EXPONENTIAL, OPERATORS, decode_ns, fixed_ns
from kaiju_sim.steptime.profile import profile_json


def test_roofline() -> None:
    built = build_step_time(scenario(engine={"token_budget": 512, "max_seqs": 64}))
    assert built.curves.kind == OPERATORS
    assert len(built.curves.rows_ns) == 512 + 64 + 1
    assert len(built.curves.seqs_ns) == 64 + 1
    assert (built.source, built.id) == ("roofline", "roofline-h100-80gb-kaiju-13b-tp1")
    assert (built.rel_error_low, built.rel_error_high) == (None, None)
    assert built.host_overhead_s == 0.001
    assert built.curves.host_ns == 1e6


@pytest.mark.parametrize(("kind", "code"), [("constant", CONSTANT), ("exponential", EXPONENTIAL)])
def test_fixed_kinds(kind: str, code: int) -> None:
    built = build_step_time(scenario(steptime={"kind": kind, "step": 0.02}))
    assert (built.curves.kind, built.source, built.id) == (code, kind, f"{kind}-0.02s")
    assert fixed_ns(built.curves, 100, 10) == 0.02e9
    assert decode_ns(built.curves, 10**6, 10**6) == 0.0


def test_kinds_have_the_same_array_types() -> None:
    """So that the compiled loop is compiled once for all of them."""
    roofline = build_step_time(scenario()).curves
    fixed = build_step_time(scenario(steptime={"kind": "constant", "step": 0.02})).curves
    for a, b in zip(roofline, fixed, strict=True):
        assert type(a) is type(b)
        if not isinstance(a, int | float):
            assert (a.dtype, a.ndim, a.flags.c_contiguous) == (b.dtype, b.ndim, True)


def test_profile_from_a_file_beside_the_scenario(tmp_path: Path) -> None:
    wanted = scenario(steptime={"kind": "profile", "profile": "./p.json"})
    rows, seqs = table_sizes(wanted)
    profile = profile_from_roofline(usual_rank(), 0.002, rows, seqs, 8704)
    (tmp_path / "p.json").write_text(profile_json(profile))
    built = build_step_time(wanted, tmp_path)
    assert built.source == "roofline"
    assert built.id == profile.id
    assert built.host_overhead_s == 0.002
    assert built.rel_error_high is None


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"gpu": "H200"}, "is for gpu H100-80GB, but the scenario has H200"),
        ({"model": "kaiju-34b"}, "is for model kaiju-13b, but the scenario has kaiju-34b"),
        ({"fleet": {"tensor_parallel": 2}}, "is for tensor_parallel 1, but the scenario has 2"),
        ({"engine": {"token_budget": 60000}}, "curves.rows reaches to 4608"),
        ({"engine": {"max_seqs": 600}}, "curves.seqs reaches to 512"),
    ],
)
def test_a_profile_for_something_else(
    tmp_path: Path, parts: dict[str, object], message: str
) -> None:
    file = tmp_path / "p.json"
    file.write_text(profile_json(profile_from_roofline(usual_rank(), 0.002, 2304, 256, 8704)))
    wanted = scenario(steptime={"kind": "profile", "profile": str(file)}, **parts)
    with pytest.raises(UserError, match=message):
        build_step_time(wanted)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"gpu": "H300"}, "gpu: unknown name 'H300'"),
        ({"model": "kaiju"}, "model: unknown name 'kaiju'"),
        ({"fleet": {"tensor_parallel": 3}}, r"its heads \(64\) is not a multiple of 3"),
        ({"steptime": {"compute_efficiency": 0.002}}, "compute_efficiency must be at least 0.01"),
        ({"steptime": {"memory_efficiency": 0.001}}, "memory_efficiency must be at least 0.01"),
        ({"steptime": {"kind": "profile", "profile": "nope"}}, "unknown profile 'nope'"),
    ],
)
def test_bad_choices_are_one_line_errors(parts: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        build_step_time(scenario(**parts))
    assert "\n" not in str(error.value)
