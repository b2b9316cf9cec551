"""Distillation from a few tokens of the teacher's distribution, chosen so that nothing is biased.

`subsample` draws them, `store` keeps them in files, `loss` is what the student learns from.
"""
