"""The approximate posteriors q(z|x), one a file; `vaelab.parts` says what each provides."""
