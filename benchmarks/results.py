"""What was measured on a machine, kept as JSON, and the page and the plot that are made from it."""

import json
import platform
import re
import subprocess
import time
from importlib import metadata
from pathlib import Path

from tf_deepdeblur import runtime
from tf_deepdeblur.io.atomic import write_atomically

FOLDER = Path(__file__).parent / "results"
_ISAS = ("amx_int8", "amx_bf16", "avx512_bf16", "avx512_vnni", "avx_vnni", "avx512f", "avx2")
_PACKAGES = ("tensorflow", "keras", "torch", "openvino", "onnxruntime", "numpy")
_KEY = ("what", "case", "name", "precision")


class Results:
    """The rows of this machine in ``folder``; those that are measured again are replaced."""

    def __init__(self, folder: Path):
        self.machine = describe_machine()
        self._path = folder / f"{self.machine['name']}.json"
        self.rows = self._recorded()

    def add(self, row: dict) -> None:
        """Adds a row to the file, at once and to what is there by then: nothing is lost if another one fails."""
        key = [row.get(name) for name in _KEY]
        kept = [other for other in self._recorded() if [other.get(name) for name in _KEY] != key]
        self.rows = [*kept, {**row, "date": time.strftime("%Y-%m-%d")}]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self._path, (json.dumps(self.content, indent=1) + "\n").encode())

    def _recorded(self):
        return json.loads(self._path.read_text())["rows"] if self._path.exists() else []

    @property
    def content(self) -> dict:
        """What the file holds."""
        versions = {name: _version(name) for name in _PACKAGES}
        return {"machine": self.machine, "versions": versions, "rows": self.rows}


def convolution_rates(rows: list[dict]) -> dict[str, float]:
    """GFLOP/s of the lone convolution by precision, as far as they have been measured."""
    rates = {}
    for row in rows:
        if row["what"] == "convolution" and "gflop_per_second" in row:
            rates[row["precision"]] = max(rates.get(row["precision"], 0.0), row["gflop_per_second"])
    return rates


def has_gpu() -> bool:
    """Whether there is an NVIDIA GPU."""
    return bool(_gpus())


def describe_machine() -> dict:
    """Processor, cores, instruction sets, memory, GPUs, and a name for files."""
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*: (.*)", text, re.MULTILINE)
    flags = set(re.search(r"^flags\s*: (.*)", text, re.MULTILINE)[1].split()) if "flags" in text else set()
    processor = model[1] if model else platform.processor() or platform.machine()
    isas = [name for name in _ISAS if name in flags]
    memory = re.search(r"(\d+) kB", meminfo.read_text()) if meminfo.exists() else None
    words = [processor, f"{runtime.num_cores()} cores", *isas[1:2], *_gpus()[:1]]
    return {
        "name": re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((R|TM)\)|CPU|Processor", "", " ".join(words)).lower()).strip("-"),
        "processor": processor,
        "cores": runtime.num_cores(),
        "instruction_sets": isas,
        "memory_gib": round(int(memory[1]) / 2**20) if memory else None,
        "gpus": _gpus(),
    }


def _gpus():
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]
    except (OSError, subprocess.CalledProcessError):
        return []


def _version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
