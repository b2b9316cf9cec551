"""Plans in closed form: the fleet, what it is bought as, how it grows, which model to build."""
