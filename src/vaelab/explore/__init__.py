"""The latent space of a run as one page: encoder and decoder run in the browser, with no server and no network."""
