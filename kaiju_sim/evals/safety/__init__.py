"""The two-set safety gate: what is blocked of adversarial and of benign but intense examples."""
