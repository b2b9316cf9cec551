"""From the simulator's catalog to a model that runs: the one place where the two meet."""

from kaiju_sim.catalog.models import Model
from kaiju_sim.errors import UserError
from kernels.model.config import HEAD_DIM, ModelConfig, blocks_of_six, check_ranks

WEIGHTS = {1: "int8", 2: "bfloat16"}
KV = {1: "int8", 2: "float16"}


def config_of(model: Model, tensor_parallel: int = 1) -> ModelConfig:
    """The model of a catalog entry, with Kaiju's order of layers.

    UserError for what this code cannot run: a gated FFN, another head width, another order, heads
    that so many ranks cannot share.
    """
    if model.head_dim != HEAD_DIM or model.ffn_matrices != 2 or not model.tied_embedding:
        raise UserError(
            f"{model.name} cannot be measured: only models with heads of {HEAD_DIM}, two FFN "
            "matrices and a tied embedding"
        )
    global_layers, owner = _order(model)
    config = ModelConfig(
        model.name, model.hidden, model.heads, model.ffn, model.vocab, kv_owner=owner,
        global_layers=global_layers, kv_heads=model.kv_heads, window=model.window,
        weights=WEIGHTS[model.weight_bytes], kv=KV[model.kv_bytes],  # type: ignore[arg-type]
    )  # fmt: skip
    try:
        check_ranks(config, tensor_parallel)
    except ValueError as error:
        raise UserError(f"{model.name} cannot be measured with --tp: {error}") from error
    return config


def _order(model: Model) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which layers are global, and whose KV each reads; UserError unless in blocks of six."""
    if model.layers % 6:
        raise UserError(f"{model.name} cannot be measured: {model.layers} layers, not blocks of 6")
    every = tuple(range(model.layers))
    global_layers, owner = blocks_of_six(model.layers)
    if model.local_layers == 0:
        global_layers = every
    if model.kv_owners == model.layers:
        owner = every
    counts = {
        "global_layers": (len(global_layers), model.global_layers),
        "kv owners": (len(set(owner)), model.kv_owners),
        "global_kv_owners": (
            sum(i in global_layers for i in set(owner)), model.global_kv_owners,
        ),
    }  # fmt: skip
    for name, (ours, its) in counts.items():
        if ours != its:
            raise UserError(f"{model.name} cannot be measured: {name} is {its}, would be {ours}")
    return global_layers, owner
