"""Devices and what they hold: budgets, the model cache, releasing memory."""
