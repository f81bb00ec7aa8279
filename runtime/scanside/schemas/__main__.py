"""``python -m scanside.schemas``: write the schemas anew."""

from scanside.schemas import DOCUMENTS, generate, schema_file

for name in DOCUMENTS:
    schema_file(name).write_bytes(generate(name))
