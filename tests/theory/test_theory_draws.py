"""Draws on arrays are the draws one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaiju_sim import rng
from kaiju_sim.scenario.parts.laws import Constant, Exponential, Geometric, Lognormal, Uniform
from kaiju_sim.workload.laws import draw, draws, make_laws
from kaiju_sim.workload.start import uniforms

KEYS = st.integers(0, 2**62 - 1)


@given(
    seed=st.integers(0, 2**31 - 1),
    stream=st.integers(1, 60),
    who=st.lists(KEYS, min_size=1, max_size=5),
    what=st.integers(0, 2**40),
)
def test_hashes_on_arrays(seed: int, stream: int, who: list[int], what: int) -> None:
    found = uniforms(seed, stream, np.array(who, np.int64), what)
    assert found.tolist() == [rng.uniform(seed, stream, one, what) for one in who]


@pytest.mark.parametrize("which", range(5))
def test_laws_on_arrays(which: int) -> None:
    laws = make_laws(
        [
            Constant(value=7),
            Exponential(kind="exponential", mean=3),
            Geometric(kind="geometric", mean=20),
            Lognormal(kind="lognormal", mean=140, sigma=0.5, min=8, max=592),
            Uniform(kind="uniform", min=3, max=90),
        ]
    )
    u = np.random.default_rng(5).uniform(size=1000)
    one_by_one = [draw(laws, which, float(x)) for x in u]
    assert draws(laws, which, u) == pytest.approx(one_by_one, rel=1e-14)
