"""The priors p(z), one a file; `vaelab.parts` says what each provides."""
