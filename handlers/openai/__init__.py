"""OpenAI Images: generations, edits, variations, streams and the list of models."""
