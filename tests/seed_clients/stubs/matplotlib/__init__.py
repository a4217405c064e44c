"""Stands in for matplotlib, which these tests do not need whole."""
