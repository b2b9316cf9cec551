"""`python -m calibrate serve`: the serving engine on a model, over HTTP."""
