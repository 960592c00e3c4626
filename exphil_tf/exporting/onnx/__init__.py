"""The ONNX graph itself: editing, cleaning, fusing, integer products."""
