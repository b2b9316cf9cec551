"""The safety gate in closed form: whom it blocks, how long it takes, what its servers cost."""
