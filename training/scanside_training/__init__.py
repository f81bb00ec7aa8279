"""Training and evaluation: from labelled slices to Keras models and a report."""
