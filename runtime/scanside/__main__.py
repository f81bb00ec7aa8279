"""``python -m scanside``."""

from scanside.cli.main import main

main()
