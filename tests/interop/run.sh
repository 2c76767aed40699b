#!/usr/bin/env bash
# Compares attune with PEFT and transformers. README.md says what is needed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${INTEROP_PYTHON:-/opt/interop/bin/python}
attune=${ATTUNE:-$here/../../build/attune}
[ -x "$attune" ] || { echo "interop: no $attune: build first, or set ATTUNE" >&2; exit 2; }
"$python" -c 'import torch, transformers, peft, safetensors' 2>/dev/null || {
  echo "interop: $python has no torch, transformers, peft and safetensors: see tests/interop/README.md" >&2
  exit 2
}
exec "$python" "$here/run.py"
