"""Single operators of the model, timed on their own beside it."""
