"""From a trained policy to a bundle that ONNX Runtime plays: trace, rewrite, check, publish."""
