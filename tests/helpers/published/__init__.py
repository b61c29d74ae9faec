"""Small working parts of published models, which show that the contract carries them."""
