"""Quantisation: a float ONNX model and a few samples become a QDQ ONNX model that every runtime understands."""
