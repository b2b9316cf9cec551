"""What runs on the GPU: the model's steps and operators behind the measuring job's seam."""
