"""AUTOMATIC1111's web API: its paths, field names, sampler names and errors."""
