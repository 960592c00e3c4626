"""From a trained policy to a bundle that ONNX Runtime plays: trace, lower, prove, publish."""
