"""Measures a Kaiju model on a GPU and makes the simulator's step-time profile of it.

`python -m calibrate` runs the job; docs/calibrate.md is for its user. `shapes` says what a step is,
`design` which steps are measured and why, `measure` how, `samples` keeps them, `resume` decides
whether an earlier job may go on, `job` puts it together; `gpu` is the only part that needs torch,
and `fit` turns samples into a profile.
"""
