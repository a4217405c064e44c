"""One script a question; ``python -m bench.NAME`` answers it."""
