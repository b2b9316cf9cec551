"""Opens a model on the GPUs of this machine for the measuring job."""

import contextlib
from dataclasses import dataclass

import torch

from calibrate.gpu.card import GpuCard
from calibrate.gpu.engine import Engine, load_engine
from calibrate.gpu.links import TorchLinks
from calibrate.gpu.operators.bench import TorchOperators
from calibrate.gpu.ranks import Ranks
from calibrate.gpu.serve.bench import TorchServing
from calibrate.gpu.steps import TorchSteps
from calibrate.measure.seam import Request
from calibrate.models import config_of
from kaiju_sim.errors import UserError


@dataclass
class TorchRig:
    """`calibrate.measure.seam.Rig`: rank 0, in this process, and the other ranks."""

    engine: Engine
    card: GpuCard
    steps: TorchSteps
    operators: TorchOperators
    links: TorchLinks
    others: Ranks | None = None
    serving: TorchServing | None = None

    def versions(self) -> dict[str, str]:
        """Of what runs on the GPU."""
        nccl = ".".join(map(str, torch.cuda.nccl.version()))  # type: ignore[no-untyped-call]
        return {"cuda": str(torch.version.cuda), "nccl": nccl}

    def compile_s(self) -> float:
        """Of the first steps; what is compiled after them counts as measuring."""
        return self.engine.compile_s

    def close(self) -> None:
        """End the other ranks, and give all memory back: whatever one of them raises, as all do
        after an error on the GPU, the others are closed, too."""
        with contextlib.ExitStack() as last_first:
            last_first.callback(torch.cuda.empty_cache)
            last_first.callback(self.__dict__.clear)
            if self.others is not None:
                last_first.callback(self.others.close)
            last_first.callback(self.engine.runner.release)
            for part in (self.card, self.links, self.operators, self.steps):
                last_first.callback(part.close)


def make_rig(request: Request) -> TorchRig:
    """The model of a request, with random weights. UserError where it cannot be run here."""
    ranks = request.tensor_parallel
    config = config_of(request.model, ranks)
    _check_card()
    device = torch.device("cuda", 0)
    torch.cuda.set_device(device)
    others = Ranks.start(config, ranks) if ranks > 1 else None
    try:
        reduce = others.join() if others is not None else None
        engine = load_engine(config, device, ranks=ranks, reduce=reduce)
        summed = None if others is None else others.all_reduce
        operators = TorchOperators(engine.model, engine.cache, all_reduce=summed)
        links, steps = TorchLinks(device, summed), TorchSteps(engine, others)
        serving = TorchServing(engine) if others is None else None
        return TorchRig(engine, GpuCard(count=ranks), steps, operators, links, others, serving)
    except BaseException:
        if others is not None:
            others.close()
        raise


def _check_card() -> None:
    major, minor = torch.cuda.get_device_capability(0)
    if major < 8:
        raise UserError(
            f"compute capability {major}.{minor}: the int8 kernels need 8.0 (A100) or newer"
        )
