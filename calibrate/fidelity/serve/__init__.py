"""A workload on the serving engine: a model on a GPU, or a fake."""
