"""What a run leaves behind: checkpoints, policies, and where they came from."""
