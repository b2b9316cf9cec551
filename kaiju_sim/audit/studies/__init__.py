"""Studies: which runs a claim about behaviour is held against, and which figure of them."""
