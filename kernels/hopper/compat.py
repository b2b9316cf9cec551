"""What Gluon calls differently in Triton 3.6 and 3.7."""

from triton.experimental.gluon import language as gl

barrier = getattr(gl, "barrier", None) or gl.thread_barrier
"""Of all threads of the warps that run this function."""
