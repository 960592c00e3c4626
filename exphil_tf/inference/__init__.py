"""Playing an exported policy with numpy and ONNX Runtime alone."""
