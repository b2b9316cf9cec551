"""How wrong the simulator is: the same messages through the serving engine and through the
simulator, compared one by one (docs/fidelity.md)."""
