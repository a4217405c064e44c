"""Pictures in and out of the latent side: previews, resizing, encoding."""
