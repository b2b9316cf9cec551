"""Opens the rig: whether there is a GPU at all is asked here, before anything is built on it.

Importing this module needs no torch; `open_rig` does. `calibrate.gpu.rig.make_rig(request)` builds.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from kaiju_sim.errors import UserError

if TYPE_CHECKING:
    from calibrate.bench import Bench
    from calibrate.engine.served.seam import Opened, Wanted
    from calibrate.measure.seam import Request, Rig
    from kernels.model.config import ModelConfig


def open_rig(request: "Request") -> "Rig":
    """Build the model on the GPUs; UserError where there is no torch or there are too few GPUs."""
    if find_spec("torch") is None:
        raise UserError(
            "measuring needs torch: pip install -e '.[calibrate]' "
            "(--dry-run shows the plan without)"
        )
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found < request.tensor_parallel:
        raise UserError(
            f"measuring with --tp {request.tensor_parallel} needs as many CUDA devices, this "
            f"machine has {found} (--dry-run shows the plan without)"
        )
    rig: Rig = import_module("calibrate.gpu.rig").make_rig(request)
    return rig


def open_served(wanted: "Wanted", say: Callable[[str], None]) -> "Opened":
    """Build what is to be served, which takes a while: `say` is told before. UserError where there
    is no torch or, for a model of the catalog, no GPU."""
    if find_spec("torch") is None:
        raise UserError("serving needs torch: pip install -e '.[calibrate]'")
    import torch

    if wanted.model is not None and not torch.cuda.is_available():
        raise UserError("serving needs a CUDA device, this machine has none (--tiny needs none)")
    name = "a tiny model" if wanted.model is None else wanted.model.name
    say(f"opening {name}: weights, kernels, graphs")
    opened: Opened = import_module("calibrate.gpu.serve.live").open_served(wanted, say)
    return opened


def open_bench(
    config: "ModelConfig", tensor_parallel: int, accept: Callable[[str], object]
) -> "Bench":
    """A model on this machine's GPU, to serve workloads on; UserError where there is no torch or no
    GPU. `accept` is told the card's name before anything is built, and raises if it is another."""
    if find_spec("torch") is None:
        raise UserError("serving needs torch: pip install -e '.[calibrate]' (--fake tries it)")
    import torch

    if not torch.cuda.is_available():
        raise UserError("serving needs a CUDA device, this machine has none (--fake tries it)")
    if tensor_parallel != 1:
        raise UserError(f"the engine serves on one GPU, the profile is of {tensor_parallel}")
    accept(torch.cuda.get_device_name(0))
    bench: Bench = import_module("calibrate.gpu.serve.replay").make_bench(config)
    return bench
