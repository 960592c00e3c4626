"""Names of a policy bundle's files, for those who look for one without loading Keras."""

CONFIG = "config.json"
WEIGHTS = "weights.safetensors"
