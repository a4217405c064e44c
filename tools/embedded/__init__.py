"""How the embedded model is made: pictures, captions, training, export and measurement."""
