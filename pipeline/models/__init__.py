"""Model files to modules on a device."""
