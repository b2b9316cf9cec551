"""What is measured: result tables, quantiles, money."""
