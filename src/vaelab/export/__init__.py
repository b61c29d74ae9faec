"""Models for other programs: networks in formats that need no vaelab, embeddings as tables, folders for a hub."""
