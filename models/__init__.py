"""Keras 3 policies: `FrameEmbedding -> backbone -> controller head`, built from `models.config.PolicyConfig`."""
