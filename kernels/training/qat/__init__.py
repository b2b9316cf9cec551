"""int8 quantisation-aware training: the forward pass computes what inference will.

`quantise` brings activations, weights and gradients to int8, `linear` is the layer, `clamping` the
limits that activations are clamped to and the squared ReLU between them.
"""
