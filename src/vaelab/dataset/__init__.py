"""The datasets, one a file, each a function `load` that returns a `vaelab.dataset.images.Dataset`."""
