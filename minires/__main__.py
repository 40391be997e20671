"""``python -m minires`` is the ``minires`` command."""

import sys

from minires.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
