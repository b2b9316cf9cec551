"""From a run's figures to a monthly bill, and from the bill to prices per unit."""
