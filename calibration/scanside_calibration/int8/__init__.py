"""INT8 as explicit QuantizeLinear and DequantizeLinear, in one file for TensorRT and the CPU."""
