"""Memory: how much a compiled program asks for, and how much there is."""

from pathlib import Path
from typing import Any

import jax

CGROUPS = (  # the limit of a container and what it uses, by version of the kernel's control groups
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"), Path("/sys/fs/cgroup/memory/memory.usage_in_bytes")),
)
MEMINFO = Path("/proc/meminfo")


def needed(program: Any, devices: int = 1) -> int:
    """Bytes that a compiled program needs where the memory is that of one device, or of all devices of a CPU.

    Args:
      program: as `jax.jit(f).lower(...).compile()` gives it.
      devices: that share the work of the program.
    """
    analysis = program.memory_analysis()
    # the results of one call are the arguments of the next, so that both exist at the same time
    once = analysis.argument_size_in_bytes + analysis.output_size_in_bytes - analysis.alias_size_in_bytes
    return (once + analysis.temp_size_in_bytes) * (devices if jax.default_backend() == "cpu" else 1)


def available() -> int | None:
    """Bytes that are free for this process on its first device; None where nobody says."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return None if jax.default_backend() != "cpu" else _of_the_machine()


def _of_the_machine() -> int | None:
    free = []
    if MEMINFO.exists():
        lines = dict(line.split(":", 1) for line in MEMINFO.read_text("utf-8").splitlines() if ":" in line)
        if "MemAvailable" in lines:
            free.append(int(lines["MemAvailable"].split()[0]) * 1024)
    for limit, used in CGROUPS:
        if limit.exists() and used.exists() and (text := limit.read_text("utf-8").strip()).isdigit():
            free.append(int(text) - int(used.read_text("utf-8")))
    return max(0, min(free)) if free else None


def in_words(count: float) -> str:
    """A number of bytes for people: `7.3 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
