"""Host memory of a server: what the machine has, the link's rates, and what the gauge says."""

from pathlib import Path

import pytest
from serving_limits import constant_curves, limits_with

from calibrate.engine.clock import FakeClock
from calibrate.engine.engine import Engine, Sizes
from calibrate.engine.executor import FakeExecutor, TransferTime
from calibrate.engine.memory.host_tier import Host
from calibrate.engine.memory.rings import reserve_pages
from calibrate.engine.served import machine
from calibrate.engine.served.machine import available_bytes, check_fits
from calibrate.engine.served.seam import HostMemory, Rates
from calibrate.engine.server.gauge import Gauge, Traffic
from calibrate.serving.rules import host_of, rules_of
from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.errors import UserError

MEMINFO = "MemTotal:  9000 kB\nMemFree:  10 kB\nMemAvailable:  5000 kB\nHugePages_Total: 0\n"


def files(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_memory_is_what_the_kernel_says_or_a_container_leaves(tmp_path: Path) -> None:
    proc, groups, old = (tmp_path / name for name in ("proc", "groups", "old"))
    for folder in (proc, groups, old / "memory"):
        folder.mkdir(parents=True)
    assert available_bytes(proc, groups) is None
    files(proc, meminfo=MEMINFO)
    assert available_bytes(proc, groups) == 5000 * 1024
    files(groups, memory__max="max\n", memory__current="77\n")
    assert available_bytes(proc, groups) == 5000 * 1024
    files(groups, memory__max="900000\n", memory__current="700000\n")
    assert available_bytes(proc, groups) == 200_000
    files(groups, memory__stat="anon 650000\ninactive_file 50000\n")
    assert available_bytes(proc, groups) == 250_000
    names = {"memory__limit_in_bytes": "3000", "memory__usage_in_bytes": "1000"}
    files(old / "memory", **names)
    assert available_bytes(proc, old) == 2000


def test_what_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_bytes", lambda: 10_000_000_000)
    check_fits(9_000_000_000, "is")
    with pytest.raises(
        UserError, match=r"host_memory: is 64.0 GB, must be 9.0 GB at most: 90% of the 10"
    ):
        host_of(rules_of(None, host_memory=64_000_000_000), None)
    monkeypatch.setattr(machine, "available_bytes", lambda: None)
    check_fits(1 << 60, "is")


def far(stated: str = "", profile: str | None = None, folder: Path | None = None) -> HostMemory:
    file = None
    if folder is not None:
        file = folder / "rules.yaml"
        file.write_text(
            "schema_version: 1\nname: far\ntraffic: {kind: sessions, messages_per_s: 1}\n"
            f"kv: {{host_memory: 1MB{stated}}}\n"
        )
    found = host_of(rules_of(file, host_memory=None if folder else 1_000_000), profile)
    assert found is not None
    assert found.size == 1_000_000
    return found


def test_the_links_rates_are_stated_or_the_catalogs(tmp_path: Path) -> None:
    card = "NVIDIA H100 80GB HBM3"
    h100, h200 = find_gpu("H100-80GB"), find_gpu("H200")
    assert far().rates(card) == (h100.to_device_bytes_per_s, h100.to_host_bytes_per_s)
    assert far(folder=tmp_path).rates("NVIDIA H200").into == h200.to_device_bytes_per_s
    stated = far(", host_bandwidth: 25GB/s", folder=tmp_path)
    assert stated.rates(card) == stated.rates("") == Rates(25e9, 25e9)
    measured = far(profile="h100-80gb-kaiju-13b-tp1")
    assert measured.rates("") == far().rates(card)
    with pytest.raises(UserError, match="host_bandwidth: GeForce is not in the catalog"):
        far().rates("GeForce")
    assert host_of(rules_of(None), None) is None


def test_the_gauge_shows_host_memory_and_its_link() -> None:
    limits, clock = limits_with(load_ns=1.0), FakeClock()
    sizes = Sizes(100, reserve_pages(limits, host=True), 512, 8, Host(40, 10))
    executor = FakeExecutor(clock, constant_curves())
    engine = Engine(limits, constant_curves(), sizes, executor, clock)
    traffic = Traffic(block_bytes=4_000_000, page_bytes=1_000_000)
    gauge, plain = Gauge(engine, traffic), Gauge(engine)
    cache, replica = engine.world.engine.caches[0], engine.world.engine.replicas[0]
    cache.host_free, cache.host_windows_free = 30, 9
    replica.prompt, replica.hit, replica.hit_host = 200, 100, 50
    clock.advance(500_000_000)
    traffic.told(TransferTime(0, 1, load=True, blocks=50, local_pages=100))
    traffic.told(TransferTime(0, 1, load=False, blocks=25, local_pages=0))
    line = gauge.line()
    assert "hits 50%, KV 0% held" in line
    assert "; host memory: hits 25%, blocks 25%, windows 10%, 0.60 GB/s in, 0.20 GB/s" in line
    clock.advance(500_000_000)
    assert "host memory: hits -, blocks 25%, windows 10%, 0.00 GB/s in" in gauge.line()
    assert "host" not in plain.line()
