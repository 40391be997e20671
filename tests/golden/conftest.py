"""Leaves the scripts that make the goldens out of collection: they need other frameworks."""

collect_ignore_glob = ["make_*.py"]
