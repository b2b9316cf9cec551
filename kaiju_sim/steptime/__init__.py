"""How long an engine step takes, and how much KV memory a replica has (docs/model.md)."""
