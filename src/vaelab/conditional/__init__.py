"""What a model is conditioned on, one way a file: how labels reach encoder, prior and decoder."""
