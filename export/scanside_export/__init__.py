"""Export: from Keras models to a bundle."""
