"""Where artefacts can be measured again, by name."""

__all__ = ["DEVICES"]

DEVICES = ("onnxruntime-cpu", "tensorrt", "litert", "litert-dynamic", "litert-int8")
