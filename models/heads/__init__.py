"""Output heads: the controller's distribution."""
