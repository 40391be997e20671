#!/usr/bin/env bash
# Gradescope runs this once, as root, when the autograder is built: Python, and what minires needs.
set -euo pipefail

root="${MINIRES_AUTOGRADER:-/autograder}"

new_enough() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2> /dev/null
}

find_python() {
  for name in python3 python3.14 python3.13 python3.12 python3.11; do
    if new_enough "$name"; then
      command -v "$name"
      return
    fi
  done
}

python="$(find_python)"
if [ -z "$python" ]; then
  apt-get update
  # The first works where the system's own Python is new enough (Ubuntu 24.04), the second on 22.04.
  apt-get install -y python3 python3-venv
  [ -n "$(find_python)" ] || apt-get install -y python3.11 python3.11-venv
  python="$(find_python)"
fi
if [ -z "$python" ]; then
  echo "minires needs Python 3.11 or newer; choose a newer base image." >&2
  exit 1
fi

"$python" -m venv "$root/minires-venv"
"$root/minires-venv/bin/python" -m pip install -r "$root/source/requirements.txt"
