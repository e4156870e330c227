"""`python -m tanada`: the command where its script is not on the path."""

from tanada.cli import main

main()
