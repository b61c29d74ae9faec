"""Campaigns of random faults against the command lines; `python -m tests.adversary --help`."""
