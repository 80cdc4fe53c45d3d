"""``python -m fewseconds`` is the ``fewseconds`` command."""

from fewseconds.cli import main

main()
