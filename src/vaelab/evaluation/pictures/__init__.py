"""The pictures that a run leaves: samples, reconstructions, curves, and what its latent space looks like."""
