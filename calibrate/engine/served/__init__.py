"""A model that is to be served: what is wanted of it, its candidates' rules, its host memory."""
