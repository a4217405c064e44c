"""The in-process event bus: what can be said, who hears it, and what a slow reader gets."""
