"""From files to studies: which series is which sequence, on one grid."""
