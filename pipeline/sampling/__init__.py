"""Sigma schedules, noise, samplers, guidance: arithmetic on latents."""
