"""What is in a picture: words for it, masks of things in it, and whether it may be shown."""
