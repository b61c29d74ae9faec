"""What vaelab adds to Hydra: launchers that run the jobs of a sweep, and a sweeper that searches."""
