# Ends the process while the submission is being read, before any task is called.
# loses: all
import os

os._exit(0)
