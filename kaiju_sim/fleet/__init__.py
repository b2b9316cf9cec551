"""The fleet: cells of replicas behind a router, characters, and the control plane."""
