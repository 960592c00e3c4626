"""ExPhil-TF: Super Smash Bros. Melee bots, from Slippi replays to live play."""

__version__ = "0.1.0"
