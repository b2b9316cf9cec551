"""A serving engine for one replica: the simulator's policy decides, an executor runs each step."""
