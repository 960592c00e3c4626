"""Keras 3 policies: frame embedding, backbone and controller head, built from a `PolicyConfig`."""
