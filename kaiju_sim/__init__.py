"""Kaiju fleet planner: simulates a consumer LLM chat fleet message by message, step by step.

The library is the product: `kaiju_sim.scenario.loader.load_scenario` reads a scenario, and
`kaiju_sim.simulation.simulate` runs it. The command line only parses and calls.
"""

__version__ = "0.1.0"
