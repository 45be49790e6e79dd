"""Surgery on ONNX graphs, whatever they come from."""
