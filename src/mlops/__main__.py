"""`python -m mlops` is `mlops`."""

from mlops.cli import main

main()
