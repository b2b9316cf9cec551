"""The operators that a Kaiju model runs on, in Triton: int8 multi-query attention and its company.

Each operator is one module here: its reference in PyTorch (the specification), its Triton kernel,
its launcher (the public function, named like the module) and `flops_and_bytes`. `common/` holds
what they share, above all the layout of KV pages; `hopper/` holds Gluon kernels that take a
launcher's place on compute capability 9.0; `model/` is a model on them, `training/` what trains
one. `docs/kernels.md` says how they work and how fast.
"""
