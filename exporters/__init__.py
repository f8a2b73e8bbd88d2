"""Files that ship: ONNX, parity and the bundle."""
