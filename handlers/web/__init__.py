"""What the web pages use."""
