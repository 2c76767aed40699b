#!/usr/bin/env bash
# Kills a running training COUNT times (1000) at random moments and holds what comes out to a run that nobody touched.
# Usage: tests/kill/run.sh [COUNT] [SEED]; BUILD names the build folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${BUILD:-build}
export ATTUNE_KILLS=${1:-1000} ATTUNE_KILL_SEED=${2:-1} GOMP_SPINCOUNT=1000
ATTUNE_RUNS=$(mktemp -u) && export ATTUNE_RUNS
trap 'rm -f "$ATTUNE_RUNS"*' EXIT
"$build/tests-bin/e2e_test" --gtest_filter='Kill*'
