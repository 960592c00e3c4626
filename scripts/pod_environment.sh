# shellcheck shell=bash
# Variables of the container for a shell that did not get them, as one that comes in by SSH: read
# from its first process, so that no key has to be written to a file.
while IFS= read -r -d '' _line; do
  case $_line in
    PATH=* | PYTHONPATH=* | KERAS_* | TF_* | B2_* | R2_* | S3_* | AWS_* | STORE_DIR=* | REPLAY_* | \
      WANDB_* | EXPHIL_* | RUNPOD_* | CONTAINER_* | CUDA_* | NVIDIA_*) export "${_line?}" ;;
  esac
done <"/proc/${POD_PROCESS:-1}/environ"
unset _line
