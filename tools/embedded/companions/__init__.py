"""The embedded model's companions: image prompt, controls, inpainting, few steps, upscaler."""
