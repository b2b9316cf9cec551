"""KV memory: the paged prefix cache, local windows, host memory."""
