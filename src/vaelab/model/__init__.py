"""The networks, one pair a file, each a function `networks` that returns an encoder and a decoder."""
