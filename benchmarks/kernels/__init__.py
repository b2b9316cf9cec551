"""The kernels beside the best public ones, on one GPU: `python -m benchmarks.kernels`."""
