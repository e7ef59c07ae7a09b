#!/usr/bin/env bash
# Installs the Python peers into a virtual environment (default: build/peers), for `./dev bench --peers`.
# Nothing outside that folder is touched. Usage: bench/peers/install.sh [FOLDER]
set -euo pipefail
folder=${1:-$(cd "$(dirname "$0")/../.." && pwd)/build/peers}
python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --disable-pip-version-check 'ray==2.60.*' numpy
echo "$folder/bin/python3"
