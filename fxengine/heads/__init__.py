"""Heads: vectors and labels in, a small classifier out, as one ONNX file over feature vectors."""
