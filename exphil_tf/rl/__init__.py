"""Learning by playing: matches stepped in batches, what actions were worth, policies made of it."""
