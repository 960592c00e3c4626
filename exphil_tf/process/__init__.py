"""What a process owes whoever started it: an exit code, quiet output, no leftovers."""
