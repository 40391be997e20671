"""The notebooks are run as .ipynb; their texts are not modules to look for doctests in.

What comes out is kept, so that the site does not run them again (docs/executed.py).
"""

from collections.abc import Iterator
from typing import Any

import nbmake.pytest_items
import pytest

from docs import executed

collect_ignore_glob = ["*.py", "solutions/*.py"]


class _KeptRun(nbmake.pytest_items.NotebookRun):
    def execute(self) -> Any:
        result = super().execute()
        if result.error is None:
            executed.keep(self.filename, result.nb)
        return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nbmake.pytest_items, "NotebookRun", _KeptRun)
        return (yield)
