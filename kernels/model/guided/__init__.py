"""Classifier-guided beam search: a head that judges every token, rules for its probabilities, and
a search that goes on with the best of a few continuations of 16 tokens each.
"""
