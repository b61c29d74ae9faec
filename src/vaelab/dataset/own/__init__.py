"""Images of one's own: read from where they are, once, into a file that is mapped into memory from then on."""
