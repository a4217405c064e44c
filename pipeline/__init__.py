"""From parameters to pictures. Knows no URL, no database and no event loop but in executor.py."""
