"""Programs for people who work on Focal; the server imports none of them."""
