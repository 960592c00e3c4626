"""What a frame is made of (schema), how it is packed, and what a controller action is."""
