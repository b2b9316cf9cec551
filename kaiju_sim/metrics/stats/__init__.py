"""How sure a result is: replications, intervals, sampling, the detected warm-up."""
