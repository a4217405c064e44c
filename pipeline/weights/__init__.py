"""Tensors from files: layouts, number formats, LoRA and textual inversion."""
