"""Readers: files in, slices out, told apart by content and never by file name."""
