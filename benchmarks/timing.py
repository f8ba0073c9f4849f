"""How much memory something took here."""

import re
import resource
from pathlib import Path


def peak_gib():
    """The most memory that this process has had so far, in GiB."""
    status = Path("/proc/self/status")  # Linux, where ru_maxrss begins with what the parent process had
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
