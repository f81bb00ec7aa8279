"""Two sides of one question: the same slices through two precisions, backends or bundles.

`sides` says what a side is, `slices` reads what both are given, `pairs` runs both on a slice,
`totals` sums up, `labelled` adds what the truth says, `limits` judges, `pictures` and `page` show.
The records' schema is in `records`.
"""
