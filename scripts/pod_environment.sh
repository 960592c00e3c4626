# shellcheck shell=bash
# Variables of the container for a shell that did not get them, as one that comes in by SSH: read
# from its first process, so that no key has to be written to a file.
_first=/proc/${POD_PROCESS:-1}/environ
while IFS= read -r -d '' _line; do
  case $_line in
    PATH=* | PYTHON*=* | KERAS_* | TF_* | MPLCONFIGDIR=* | XDG_CACHE_HOME=* | WORKSPACE=* | \
      CHECKPOINT_DIR=* | BENCHMARK_DIR=* | STORE_DIR=* | REPLAY_* | B2_* | R2_* | S3_* | AWS_* | \
      WANDB_* | EXPHIL_* | RUNPOD_* | CONTAINER_* | CUDA_* | NVIDIA_*) export "${_line?}" ;;
  esac
done < <(if [[ -r $_first ]]; then cat "$_first"; fi)
unset _line _first
