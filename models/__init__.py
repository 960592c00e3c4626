"""Keras 3 policies: frame embedding, backbone and heads, built from a `PolicyConfig`."""
