"""A small Kaiju that is trained with every trick of this package, each of which can be left out:
`python -m kernels.training.demo`. docs/training.md says how it is run."""
