"""Mean wait for one of several servers: exact for exponential service, else an approximation.

Waits of M/G/c are those of M/M/c times (1 + c_s^2) / 2, with c_s the coefficient of variation of
the service time: A. O. Allen, *Probability, Statistics and Queueing Theory*, 1990 (Allen-Cunneen).
Exact for one server (Pollaczek and Khinchine), within a few percent for several.
"""

import math

from kaiju_sim.scenario.parts.safety import Pool


def waiting_chance(servers: int, offered: float) -> float:
    """Probability of a wait in M/M/c (A. K. Erlang, 1917); offered: load in servers, below c."""
    lost = 1.0
    for n in range(1, servers + 1):
        lost = offered * lost / (n + offered * lost)
    return servers * lost / (servers - offered * (1.0 - lost))


def squared_variation(pool: Pool) -> float:
    """Squared coefficient of variation of the service time."""
    if pool.service == "constant":
        return 0.0
    if pool.service == "exponential":
        return 1.0
    return math.expm1(pool.service_sigma.value**2)


def stay_s(pool: Pool, rate: float) -> float | None:
    """Mean time at the gate at so many messages/s; None where the servers cannot keep up."""
    mean = pool.service_mean_s.value
    offered = rate * mean
    if offered >= pool.servers:
        return None
    wait = waiting_chance(pool.servers, offered) * mean / (pool.servers - offered)
    return mean + wait * (1.0 + squared_variation(pool)) / 2.0
