"""Prompts to conditioning: tokens, weights, CLIP."""
