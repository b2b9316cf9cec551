"""How a shape is measured: the seam to the GPU, the loop of repetitions, its pace and its words."""
