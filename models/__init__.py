"""Keras 3 policies: frame embedding, trunk and controller head, built from a `PolicyConfig`."""
