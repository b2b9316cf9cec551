"""How the cost of a message grows: with GPUs, context, batch and block size."""
