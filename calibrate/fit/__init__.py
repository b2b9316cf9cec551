"""From samples to a profile: monotone curves per operator, fitted jointly to whole steps.

`profile.refit` is the entry; `features` counts what a step depends on, with the simulator's own
functions; `basis` says how a curve is built, `solve` and `joint` find it, `errors` judges it.
"""
