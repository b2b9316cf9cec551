"""Break-its: what each choice of a design is worth, in GPUs."""
