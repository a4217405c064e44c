"""The command line ``focal``."""
