"""The rules of a frame, as scalar functions over one player's record."""
