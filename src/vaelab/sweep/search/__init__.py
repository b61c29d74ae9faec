"""Searches: what draws a sweep's jobs, and gives some up."""
