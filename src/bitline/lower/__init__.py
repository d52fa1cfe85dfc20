"""QDQ ONNX -> kernels, and the same kernels as an integer ONNX model (`golden.onnx`)."""
