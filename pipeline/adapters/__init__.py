"""What is added to a network for a run: controls, image prompts, FreeU, the inpaint head."""
