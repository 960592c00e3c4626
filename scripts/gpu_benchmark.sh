#!/usr/bin/env bash
# Compares the architectures on replays: a ranking, benchmark_results.json, benchmark_report.html.
#
#   gpu_benchmark.sh [--replays DIR] [--max-files 50] [--epochs 3] [--batch-size 32]
#                    [--only NAME …] [--skip NAME …] [any option of benchmark architectures]
#
# An epoch is as many updates as one pass over the games takes at that batch.
set -euo pipefail
# shellcheck source=scripts/storage.sh
source "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/storage.sh"

show_help "${BASH_SOURCE[0]}" "$@"
replays=$REPLAY_DIR files=50 epochs=3 batch=32 window=80
rest=()
while [[ $# -gt 0 ]]; do
  if [[ $1 == --*=* ]]; then set -- "${1%%=*}" "${1#*=}" "${@:2}"; fi
  case $1 in
    --replays) want_value "$@" && replays=$2 && shift 2 ;;
    --max-files) want_value "$@" && files=$2 && shift 2 ;;
    --epochs) want_value "$@" && epochs=$2 && shift 2 ;;
    --batch-size) want_value "$@" && batch=$2 && shift 2 ;;
    *) rest+=("$1") && shift ;;
  esac
done
for number in "$files" "$batch"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || refuse "$number" "a whole number of files, or in a batch"
done
[[ $epochs =~ ^[0-9]*\.?[0-9]+$ ]] || refuse "$epochs" "a number of epochs"
out=${BENCHMARK_DIR:-$WORKSPACE/checkpoints}
data=$WORKSPACE/datasets/benchmark-$files
mkdir -p "$out" "$WORKSPACE/datasets"
"$PYTHON" -m exphil_tf.preprocess --replays "$replays" --output "$data" --max-files "$files" \
  --overwrite
updates=$("$PYTHON" - "$data" "$epochs" "$((batch * window))" <<'PYTHON'
import sys
from pathlib import Path

from exphil_tf.records.manifest import load_manifest

frames = load_manifest(Path(sys.argv[1])).frames("train")
print(max(1, round(float(sys.argv[2]) * frames / int(sys.argv[3]))))
PYTHON
)
echo "$epochs epochs of at most $files games: $updates updates of each"
# (With a space before it, as a value that begins with -- counts as another option.)
recipe="--batch-size $batch --window-size $window --burn-in 10 --lr 2e-3 --lr-schedule cosine"
recipe+=" --warmup-share 0.03 --optimizer adamw --ema --ema-decay 0.99"
"$PYTHON" -m exphil_tf.benchmark architectures --data "$data" --updates "$updates" \
  --train-options " $recipe" --output "$out/benchmark" "${rest[@]}"
cp "$out/benchmark/architectures.json" "$out/benchmark_results.json"
cp "$out/benchmark/architectures.html" "$out/benchmark_report.html"
echo "$out/benchmark_results.json and $out/benchmark_report.html"
