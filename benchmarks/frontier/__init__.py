"""What each policy reaches: cost of a message against its latency objectives."""
