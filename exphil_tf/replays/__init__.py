"""Slippi replays: reading, repairing and writing `.slp`, filters, players and splits."""
