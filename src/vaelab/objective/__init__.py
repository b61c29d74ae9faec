"""The objectives, one a file: from a trace to the loss."""
