"""A small valid scenario."""

from collections.abc import Callable
from pathlib import Path

VALID = """\
schema_version: 1
name: small
traffic:
  kind: sessions
  messages_per_s: 100
  sessions:
    live: 500
    think: {kind: lognormal, mean: 48 s, sigma: 0.5, max: 10min}
  output_tokens:
    kind: uniform
    min: 1
    max: 100
fleet:
  replicas: 8
  cells: 2
run:
  warm_up: 5min
  horizon: 1h
kv: {activation_reserve: 2GiB}
economics: {gpu_price: 2.35 USD/h}
overrides:
  day:
    run: {horizon: 1d}
  fixed:
    traffic:
      sessions:
        think: {kind: constant, value: 10s}
"""

Write = Callable[..., Path]
"""The `write` fixture."""
