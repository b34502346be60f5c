"""Record what a real NVIDIA driver answers, for tests on machines without one.

python tests/hardware/record_nvml.py OUT.jsonl.gz [--seconds N] [--load COMMAND --after N]

One line per second: a sample as plain data, the Xid errors delivered since the line before, and what the reading cost.
``COMMAND`` runs from second ``--after`` on and is expected to end by itself. Serial numbers are replaced.
"""

import argparse
import gzip
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from aiops.collect.nvml import NvmlReader


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--load", default="")
    parser.add_argument("--after", type=int, default=30)
    options = parser.parse_args()
    reader = NvmlReader()
    load: subprocess.Popen[bytes] | None = None
    began = time.monotonic()
    with gzip.open(options.out, "wt", encoding="utf-8") as out:
        for second in range(options.seconds):
            time.sleep(max(0.0, began + second - time.monotonic()))
            if options.load and second == options.after:
                load = subprocess.Popen(shlex.split(options.load))
            out.write(json.dumps(_line(reader), separators=(",", ":")) + "\n")
    reader.close()
    return load.wait(timeout=60) if load is not None else 0


def _line(reader: NvmlReader) -> dict[str, Any]:
    wall, cpu = time.perf_counter(), time.process_time()
    record = reader.sample().as_record()
    cost = {"wall_seconds": round(time.perf_counter() - wall, 6), "cpu_seconds": round(time.process_time() - cpu, 6)}
    serials = {gpu["uuid"]: f"GPU-{number:08d}" for number, gpu in enumerate(record["gpus"])}
    xids = [{"uuid": serials.get(xid.uuid, ""), "code": xid.code} for xid in _taken(reader)]
    own = os.getpid()
    for gpu in record["gpus"]:
        gpu["uuid"] = serials[gpu["uuid"]]
        gpu["pids"] = [pid for pid in gpu["pids"] if pid != own]
    return {"sample": record, "xids": xids, **cost}


def _taken(reader: NvmlReader) -> list[Any]:
    return [reader.xids.popleft() for _ in range(len(reader.xids))]


if __name__ == "__main__":
    sys.exit(main())
