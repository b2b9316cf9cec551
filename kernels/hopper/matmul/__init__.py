"""The int8 product on Hopper: kernel, pieces of it, tilings, launcher."""
