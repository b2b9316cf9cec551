"""What the serving engine costs on the host, beside the GPU."""
