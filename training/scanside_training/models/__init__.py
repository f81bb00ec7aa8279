"""The two architectures: the ResNet-50 classifier and the ResUNet segmenter."""
