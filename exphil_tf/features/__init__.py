"""What a frame is made of (schema), how it is packed into bytes, and what a controller action is."""
