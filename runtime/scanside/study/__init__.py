"""A study as the models see it, whatever files it came from, and what was found in it."""
