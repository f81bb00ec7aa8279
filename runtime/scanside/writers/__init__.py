"""Writers: records and pictures out, atomically."""
