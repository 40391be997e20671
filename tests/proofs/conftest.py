"""Leaves the modules that compare with PyTorch out of collection: they need it installed."""

collect_ignore = ["both.py", "operator_database.py", "samples.py", "torchvision_equality.py"]
