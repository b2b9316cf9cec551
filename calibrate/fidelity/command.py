"""From what was asked to what is printed: measure, simulate, compare, write."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from calibrate.bench import Bench
from calibrate.fidelity.compare.document import FORMAT, VERSION, document
from calibrate.fidelity.engine_time import take_engine_time
from calibrate.fidelity.measure import Measuring, Open, Print, fake_bench, with_capacity
from calibrate.fidelity.show import plots, shipped
from calibrate.fidelity.show.page import fill
from calibrate.fidelity.store import Store, write_json
from calibrate.fidelity.workload import Workload
from calibrate.fidelity.workloads.catalogue import NAMES, Asked, check_name, make
from calibrate.measure.talk import Talk
from calibrate.provenance import catalog_gpu
from calibrate.publish import ROOT, profile_file, sample_folder, shown
from kaiju_sim.catalog.models import find_model
from kaiju_sim.errors import UserError
from kaiju_sim.steptime.profile import Profile, load_profile

PLOTS = ROOT / "docs" / "img" / "fidelity"


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    profile: str
    workloads: tuple[str, ...] = ()
    """None: all."""
    repeats: int = 1
    seconds: float | None = None
    seed: int = 1
    out: Path | None = None
    data: Path | None = None
    capacity: float | None = None
    fresh: bool = False
    only_measure: bool = False


class Places:
    """Where the files of a profile are."""

    def __init__(self, profile_id: str, out: Path | None) -> None:
        self.samples = sample_folder(profile_id, None)
        """Those that the profile was fitted to."""
        self.store = Store(sample_folder(profile_id, out) / "fidelity")
        self.document = profile_file(profile_id, out).with_name("fidelity.json")
        self.distributions = self.document.with_name("distributions.json")
        self.plots = PLOTS if out is None else out / profile_id / "img"


def run(
    options: Options, talk: Talk, out: Print, opened: Open | None = None, *, fake: bool = False
) -> dict[str, Any]:
    """Measure what is missing and compare; what the last line says. `opened`: opens the model.
    `fake`: an engine without a GPU instead, to try the command."""
    profile = load_profile(options.profile)
    if fake and options.out is None:
        raise UserError("--fake: what it writes is no measurement: give a folder with --out")
    if opened is None:
        opened = partial(fake_bench, profile) if fake else _opener(profile)
    places, measuring = _measuring(options, profile, talk, opened)
    names = _names(options)
    if options.fresh:
        _forget(places.store, names)
    names = with_capacity(names, places.store, options.capacity)
    measured = measuring.run(names, options.repeats, out)
    made = [f"{task.name}/run-{task.number}" for task in measured]
    if options.only_measure:
        return {"id": profile.id, "measured": made, "samples": shown(places.store.folder)}
    return {"measured": made, **_compare(profile, places, options, talk)}


def prepare(options: Options, talk: Talk) -> dict[str, Any]:
    """Make the workloads and save them: needs no GPU."""
    profile = load_profile(options.profile)
    places, measuring = _measuring(options, profile, talk, _opener(profile))
    names = _names(options)
    if options.fresh:
        _forget(places.store, names)
    made = {name: len(measuring.prepare(name).messages) for name in names}
    return {"id": profile.id, "messages": made, "samples": shown(places.store.folder)}


def recompute(options: Options, talk: Talk) -> dict[str, Any]:
    """Simulate and compare again, from the samples: needs no GPU."""
    profile = load_profile(options.profile)
    return _compare(profile, Places(profile.id, options.out), options, talk)


def engine_time(options: Options) -> dict[str, Any]:
    """Take the engine's own time from the capacity runs, as samples of the profile."""
    places = Places(load_profile(options.profile).id, options.out)
    steps = take_engine_time(places.store, places.store.folder.parent)
    return {"steps": steps, "samples": shown(places.store.folder.parent)}


def read(options: Options) -> dict[str, Any]:
    """The comparison as it was written."""
    file = Places(load_profile(options.profile).id, options.out).document
    try:
        found: dict[str, Any] = json.loads(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"nothing has been compared yet: there is no {shown(file)}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be read: {error}", file) from error
    if not isinstance(found, dict) or (found.get("format"), found.get("version")) != (
        FORMAT, VERSION,
    ):  # fmt: skip
        raise UserError(f"is no comparison ({FORMAT}, version {VERSION})", file)
    return found


def fill_page(options: Options, page: Path) -> list[str]:
    """Rewrite the figures of a page from the comparison as it was written; the files written."""
    found = read(options)
    folder = Places(found["id"], options.out).plots
    names = (one["workload"] for one in found["workloads"])
    drawn = [file for name in names if (file := folder / f"{name}.svg").is_file()]
    fill(page, found, drawn)
    return [shown(page)]


def data_folder(given: Path | None) -> Path:
    """The folder of public traces: given, where KAIJU_SHARED says, or beside the checkout."""
    root = given or Path(os.environ.get("KAIJU_SHARED", ROOT.parent / "shared"))
    if given is None and not root.is_dir():
        root = ROOT / "shared"
    return root / "data" if (root / "data").is_dir() else root


def _measuring(
    options: Options, profile: Profile, talk: Talk, opened: Open
) -> tuple[Places, Measuring]:
    if not 1 <= options.repeats <= 20:
        raise UserError(f"--repeats: must lie between 1 and 20, not {options.repeats}")
    places = Places(profile.id, options.out)
    asked = Asked(options.seed, options.seconds, data_folder(options.data))
    return places, Measuring(profile, places.store, asked, talk, opened, options.capacity)


def _names(options: Options) -> list[str]:
    return [check_name(name) for name in options.workloads or NAMES]


def _opener(profile: Profile) -> Open:
    def opened() -> Bench:
        from calibrate.gpu.opening import open_bench
        from calibrate.models import config_of

        config = config_of(find_model(profile.model))
        return open_bench(
            config, profile.tensor_parallel, lambda name: catalog_gpu(name, profile.gpu)
        )

    return opened


def _forget(store: Store, names: list[str]) -> None:
    for name in names:
        shutil.rmtree(store.folder / name, ignore_errors=True)


def _compare(profile: Profile, places: Places, options: Options, talk: Talk) -> dict[str, Any]:
    def remade(recipe: Mapping[str, Any]) -> Workload:
        return make(dict(recipe), data_folder(options.data))

    found, compared = document(profile, places.store, remade, places.samples, talk.say)
    write_json(places.document, found)
    write_json(places.distributions, shipped.distributions(profile.id, compared))
    drawn = plots.write(compared, places.plots)
    return {
        "id": profile.id, "workloads": [one.workload.name for one in compared],
        "verdict": found["verdict"], "worst": found["worst"],
        "paths": {
            "samples": shown(places.store.folder), "fidelity": shown(places.document),
            "plots": [shown(file) for file in drawn],
        },
    }  # fmt: skip
