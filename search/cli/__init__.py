"""The command line: `paretolens COMMAND`. One module per command; each is imported only when it runs."""

from paretolens.search.cli.main import main

__all__ = ["main"]
