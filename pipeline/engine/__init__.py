"""From a task to its pictures, on one device."""
