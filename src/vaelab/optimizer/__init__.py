"""The optimizers that torch has not, one a file."""
