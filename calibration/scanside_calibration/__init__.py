"""INT8 and FP16 from FP32 models: calibration, placement, sensitivity, accuracy guard."""
