"""From a scenario to its step time, for all four kinds."""

from pathlib import Path

import pytest
from steptime_scenarios import scenario, usual_rank

from kaiju_sim.errors import UserError
from kaiju_sim.steptime import profile as profiles
from kaiju_sim.steptime.build import build_step_time, described, table_sizes
from kaiju_sim.steptime.convert import profile_from_roofline
from kaiju_sim.steptime.curves import CONSTANT, EXPONENTIAL, OPERATORS, decode_ns, fixed_ns
from kaiju_sim.steptime.profile import ErrorSummary, profile_json


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A profile in the package for 13B on one H100; an empty folder beside it."""
    made = profile_from_roofline(usual_rank(), 0.002, 2304, 256, 8704)
    error = ErrorSummary(n=9, median_abs_rel_error=0.01, p95_abs_rel_error=0.03, bias=0.0)
    name = profiles.profile_id("H100-80GB", "kaiju-13b", 1)
    content = profile_json(made.model_copy(update={"id": name, "heldout": error}))
    (tmp_path / name).mkdir()
    (tmp_path / name / "profile.json").write_text(content)
    (tmp_path / "h200-kaiju-13b-tp1").mkdir()
    monkeypatch.setattr(profiles, "_measured", lambda: tmp_path)
    return tmp_path


def test_the_shipped_profile_is_the_default(shipped: Path) -> None:
    built = build_step_time(scenario())
    assert (built.id, built.host_overhead_s) == ("h100-80gb-kaiju-13b-tp1", 0.002)
    assert (built.rel_error_low, built.rel_error_high) == (-0.03, 0.03)
    words = (
        "h100-80gb-kaiju-13b-tp1, 95 % of held-out steps within 3.0%, without the serving engine"
    )
    assert words in described(built)


@pytest.mark.parametrize(
    "parts",
    [
        {"gpu": "H200"},
        {"model": "kaiju-34b"},
        {"fleet": {"tensor_parallel": 2}},
        {"steptime": {"kind": "roofline"}},
        {"steptime": {"compute_efficiency": 0.5}},
        {"steptime": {"memory_efficiency": 1.0}},
        {"steptime": {"host_overhead": 0.0}},
    ],
)
def test_without_a_profile_or_with_a_roofline_described_it_is_one(
    shipped: Path, parts: dict[str, object]
) -> None:
    built = build_step_time(scenario(**parts))
    assert built.source == "roofline"
    assert built.id.startswith("roofline-")
    assert "error not known" in described(built)


def test_a_profile_that_is_named_comes_before_the_shipped_one(
    shipped: Path, tmp_path: Path
) -> None:
    made = profile_from_roofline(usual_rank(), 0.007, 2304, 256, 8704)
    (tmp_path / "p.json").write_text(profile_json(made))
    for kind in ("auto", "profile"):
        built = build_step_time(scenario(steptime={"kind": kind, "profile": "./p.json"}), tmp_path)
        assert built.host_overhead_s == 0.007


def test_a_step_beyond_the_shipped_profile_is_an_error_that_says_what_helps(shipped: Path) -> None:
    with pytest.raises(UserError, match="reaches to 18432 .* steptime.kind roofline has no end"):
        build_step_time(scenario(engine={"token_budget": 60000}))


def test_roofline() -> None:
    parts = {"engine": {"token_budget": 512, "max_seqs": 64}, "steptime": {"kind": "roofline"}}
    built = build_step_time(scenario(**parts))
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
    assert decode_ns(built.curves, 10**6, 10**6, 1) == 0.0


def test_kinds_have_the_same_array_types() -> None:
    """So that the compiled loop is compiled once for all of them."""
    roofline = build_step_time(scenario(steptime={"kind": "roofline"})).curves
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
        ({"engine": {"token_budget": 60000}}, "curves.rows reaches to 18432"),
        ({"engine": {"max_seqs": 2400, "token_budget": 4000}}, "curves.seqs reaches to 2048"),
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
