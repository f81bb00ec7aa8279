"""Measurement: what a slice costs on this device, and whether the figure may be quoted.

`scanside.bench.measure.measure` makes a `scanside.bench.schema.BenchResult`; writers turn it into
JSON, CSV, HTML and text; `scanside.bench.compare` puts two of them side by side.
"""
