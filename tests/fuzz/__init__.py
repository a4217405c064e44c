"""Generated input: the API against its own document, and every parser against any text or bytes."""
