"""Gluon kernels for compute capability 9.0: asynchronous copies by the tensor memory accelerator,
warpgroup matrix instructions, warps with different tasks. Each is another way to compute what an
operator of `kernels` computes, and is compared with the same reference."""
