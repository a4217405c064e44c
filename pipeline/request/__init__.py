"""The request language: fields, presets, styles, prompts, goals and plans. Reads no model file."""
