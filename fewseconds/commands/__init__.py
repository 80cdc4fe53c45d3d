"""One module a command; each prints its header first and returns an exit code."""
