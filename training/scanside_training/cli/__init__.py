"""The commands that training adds to `scanside`."""
