"""Keeps pytest from importing the files beside this one, which would run them."""

collect_ignore_glob = ["*.py"]
