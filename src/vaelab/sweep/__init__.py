"""Many jobs: launched, followed, gone on with, reported."""
