"""GPUs and models by name: dated, sourced figures as package data, and typed readers for them."""
