"""Steps of a model: pages, tables, plans, and the graphs that run them."""
