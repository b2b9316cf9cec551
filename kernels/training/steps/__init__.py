"""What a training step does with gradients: ternary updates of pinned int8 weights, and how large
steps are (`schedule`)."""
