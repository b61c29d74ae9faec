"""One run, from its config to its record."""

EXPLORER = "explore.html"  # in a run directory
