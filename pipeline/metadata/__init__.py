"""The parameters inside picture files: written, parsed, read back."""
