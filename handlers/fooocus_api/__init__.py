"""Fooocus-API v1 and v2: its paths, forms, job objects and errors, on the service layer."""
