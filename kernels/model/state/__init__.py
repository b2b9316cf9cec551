"""A model's tensors: their layout, random ones, a checkpoint's, a rank's share."""
