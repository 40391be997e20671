"""The notebooks are run as .ipynb; their texts are not modules to look for doctests in."""

collect_ignore_glob = ["*.py", "solutions/*.py"]
