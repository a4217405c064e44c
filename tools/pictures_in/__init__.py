"""Measures what requests with input pictures do, over HTTP on the embedded model."""
