"""The likelihoods p(x|z), one a file; `vaelab.parts` says what each provides."""
