"""``python -m scanside.schemas PACKAGE...``: write the schemas of packages anew."""

import sys

from scanside.schemas import documents_of, generate, schema_file

for package in sys.argv[1:]:
    for name in documents_of(package):
        schema_file(name, package).write_bytes(generate(name, package))
