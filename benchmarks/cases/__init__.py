"""One small script a peer: each analyses the same slices and prints JSON lines."""
