#!/usr/bin/env bash
# What a GPU can show, measured in one go on a bare machine: docs/gpu/README.md. No set-up, no network.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH=$root/core${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
exec "${PYTHON:-python3}" "$root/scripts/gpu_report.py" "$@"
