"""What every part stands on: where options come from, errors, files that are whole or absent."""
