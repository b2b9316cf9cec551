"""A fleet that changes: shards that come and go, the affinity table, autoscaling."""
