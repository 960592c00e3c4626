"""Playing a game, live or simulated, with a trained policy."""
