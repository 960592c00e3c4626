"""Peak memory of a stretch of work: of the GPU if there is one, else of this process."""

import re
from pathlib import Path

import tensorflow as tf

_GPU = "GPU:0"
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_CLEAR_PEAK = "5"
"""What the system wants written to make it forget a process's peak."""


class MemoryUse:
    """Bytes held at `start`, and the most that was taken besides until `taken`."""

    def __init__(self):
        self._has_gpu = bool(tf.config.list_logical_devices("GPU"))
        self.resting = 0

    def start(self) -> None:
        """Forgets the peak; raises OSError on systems that keep it."""
        if self._has_gpu:
            tf.config.experimental.reset_memory_stats(_GPU)
            self.resting = int(tf.config.experimental.get_memory_info(_GPU)["current"])
            return
        _CLEAR.write_text(_CLEAR_PEAK)
        self.resting = _of_process("VmRSS")

    def taken(self) -> int:
        """Bytes above `resting` at the peak since `start`."""
        if self._has_gpu:
            peak = int(tf.config.experimental.get_memory_info(_GPU)["peak"])
        else:
            peak = _of_process("VmHWM")
        return max(0, peak - self.resting)


def _of_process(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"{_STATUS}: want {name}. Received: none")
    return int(found[1]) * 1024
