"""Scenarios: the schema (`schema`, `traffic`), reading (`loader`), writing and explaining them.

A scenario is strict, frozen data: `loader.load_scenario` merges a file, its parents, the overrides
that were chosen and the options, checks the result, and knows where each value was stated.
"""
