"""The command lines of `run.py` and `vaelab`, and what they say."""
