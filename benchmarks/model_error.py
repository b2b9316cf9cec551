"""How exact the int8 model is: beside the float32 specification with the same weights.

    python -m benchmarks.model_error                     # Kaiju 13B, on a GPU
    python -m benchmarks.model_error --model kaiju-34b --tokens 1024

A prompt of random tokens, all positions, random weights (benchmarks of trained weights need trained
weights). Prints one JSON object: the relative error of the logits, the KL divergence from the
specification's distribution in nats, how often the likeliest token is the same, and how likely it
is in the mean.
"""

import argparse
import json

import torch

from calibrate.gpu.engine import load_engine
from calibrate.models import config_of
from kaiju_sim.catalog.models import find_model
from kernels.model.reference import reference_logits
from kernels.model.state.weights import random_state
from kernels.model.steps.sequences import SequenceStore, step_of

KV_BYTES = 4_000_000_000


def errors(model: str, tokens: int, seed: int) -> dict[str, float]:
    """The figures of one prompt."""
    config = config_of(find_model(model))
    device = torch.device("cuda", 0)
    engine = load_engine(config, device, max_rows=tokens, seed=seed, kv_bytes=KV_BYTES)
    text = torch.randint(config.vocab, (tokens,), generator=torch.Generator().manual_seed(seed))
    kv = SequenceStore(engine.cache).new()
    step = step_of(config, [], [(kv, text.to(torch.int32).numpy(), True)])
    engine.runner.run(step)
    rows = torch.arange(tokens, dtype=torch.int32, device=device)
    found = engine.model.logits(engine.runner.work, rows).float()
    state = random_state(config, seed, device)
    expected = reference_logits(config, state, text.to(device))
    log_p, log_q = expected.log_softmax(-1), found.log_softmax(-1)
    return {
        "relative_error": float((found - expected).norm() / expected.norm()),
        "kl_nats": float((log_p.exp() * (log_p - log_q)).sum(-1).mean()),
        "top_1_agreement": float((found.argmax(-1) == expected.argmax(-1)).float().mean()),
        "likeliest_probability": float(log_p.exp().amax(-1).mean()),
    }


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="kaiju-13b", help="model, by catalog name")
    parser.add_argument("--tokens", type=int, default=512, help="length of the prompt")
    parser.add_argument("--seed", type=int, default=0, help="of weights and tokens")
    asked = parser.parse_args()
    with torch.no_grad():
        found = errors(asked.model, asked.tokens, asked.seed)
    rounded = {name: round(value, 5) for name, value in found.items()}
    about = {"gpu": torch.cuda.get_device_name(0), "torch": torch.__version__}
    print(json.dumps({"model": asked.model, "tokens": asked.tokens, **rounded, **about}))  # noqa: T201


if __name__ == "__main__":
    main()
