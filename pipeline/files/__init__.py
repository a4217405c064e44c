"""Model files: where they are, what they are called, how they are fetched."""
