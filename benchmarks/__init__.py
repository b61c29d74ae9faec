"""Measures vaelab beside other ways to train the same network: `python -m benchmarks --help`."""
