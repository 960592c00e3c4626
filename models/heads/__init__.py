"""Output heads: the controller's distribution, and the value of a state."""
