"""FP16 models as typed ONNX, with float32 where it is needed and a certificate that says why."""
