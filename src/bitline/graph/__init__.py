"""ONNX graphs: the gate that reads them, their shapes, and the passes that simplify them."""
