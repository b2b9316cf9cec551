"""Squinch: gradients in 6 bits for communication, 8 of them in 48 bits.

`codec` is the format and its specification, `pack` the kernels, `exchange` the reductions over
ranks, `hooks` how DDP and FSDP use them, `compare` other codes of its size.
"""
