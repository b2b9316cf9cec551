"""Job files for clusters: Slurm and Kubernetes, filled with model, GPUs, image and samples."""

import math
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template

from kaiju_sim.catalog.models import find_model
from kaiju_sim.errors import UserError
from kaiju_sim.report.atomic import write_file

TEMPLATES = {"calibrate.slurm": "slurm.sh.template", "calibrate.yaml": "kubernetes.yaml.template"}
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@+-]*|/[A-Za-z0-9._/+-]*")
"""What may stand in a script unquoted."""
STARTING_S = 900
"""Beside the budget: pulling the image, compiling, weights, the fit."""


@dataclass(frozen=True)
class Filling:
    """What the templates leave open."""

    model: str
    tensor_parallel: int
    image: str
    samples: str
    """Slurm: a folder that the nodes share; Kubernetes: a persistent volume claim."""
    budget: str
    budget_s: float

    def words(self) -> dict[str, str]:
        """Each placeholder's text; UserError for what no job file may hold."""
        find_model(self.model)
        for name in ("image", "samples"):
            if not SAFE.fullmatch(getattr(self, name)):
                raise UserError(f"--{name}: {getattr(self, name)[:60]!r} has characters of a shell")
        claim = re.sub(r"[^a-z0-9.-]+", "-", self.samples.lower()).strip("-.")
        if not claim:
            raise UserError(f"--samples: {self.samples!r} is no name for a claim")
        seconds = math.ceil(self.budget_s) + STARTING_S
        return {
            "model": self.model,
            "gpus": str(self.tensor_parallel),
            "image": self.image,
            "samples": self.samples,
            "claim": claim,
            "budget": self.budget.replace(" ", ""),
            "seconds": str(seconds),
            "minutes": str(math.ceil(seconds / 60)),
        }


def filled(template: str, filling: Filling) -> str:
    """The text of a job file."""
    text = files("calibrate.jobs").joinpath(template).read_text(encoding="utf-8")
    return Template(text).substitute(filling.words())


def write_jobs(filling: Filling, folder: Path) -> list[Path]:
    """Write both job files into a folder."""
    texts = {name: filled(template, filling) for name, template in TEMPLATES.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}") from error
    for name, text in texts.items():
        write_file(folder / name, text.encode())
    return [folder / name for name in texts]
