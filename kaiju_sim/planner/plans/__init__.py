"""Plans: the cheapest fleet among those that a scenario lets one choose from."""
