"""The eval gates' verb."""
