"""The training side of the Kaiju models: what made them cheap to train, on the same kernels.

Each trick is a module or a small package: a reference in PyTorch (the specification), a Triton
kernel where there is device work, and a function that checks its arguments. `docs/training.md`
says what is published of each, what is ours, and how they are measured.
"""
