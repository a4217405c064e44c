"""Fault injection: real server processes, and and what befalls them."""
