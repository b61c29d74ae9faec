"""The machine a run is on: its devices, the ranks that share it, its threads."""
