"""Game states without the game: worlds that step many matches at once, and players for them."""
