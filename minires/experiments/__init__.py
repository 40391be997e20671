"""Whole experiments: data, networks, training, instruments and reports put together."""

from minires.experiments.compare import CompareConfig, compare, write_results

__all__ = ["CompareConfig", "compare", "write_results"]
