"""Attention for training: whatever a visibility says, forward and backward.

`blocks` finds which tiles of queries and keys have anything to do with each other, `forward` and
`backward` are the kernels, `visible` is the differentiable function with its specification.
"""
