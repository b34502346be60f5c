"""What Netdata's agent spends on a series: prints one JSON document.

A plug-in of its own protocol gives it charts of 20 dimensions that change every second, and nothing else runs in it: no
other collector, no cloud, no statistics sent, on loopback, with folders of its own. Its CPU after a warm-up, per
dimension and turn of the plug-in: taking the values in, storing them in its database, no health checks. Debian's build
has no machine learning, so no anomaly is looked for. The plug-in is a process of its own and is not counted.

Usage: ``python benchmarks/netdata.py [dimensions …]``; needs the program netdata, and says so where it is missing.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

PER_CHART = 20
WARM_SECONDS, SECONDS = 15, 30
PLUGIN = """#!{python}
import pathlib, random, sys, time
rounds, told = pathlib.Path({rounds!r}), 0
charts, names = {charts}, [f"d{{number}}" for number in range({per_chart})]
for chart in range(charts):
    print(f"CHART many.c{{chart}} '' 'many' 'n' 'many' 'many.c' line 1000 1")
    for name in names:
        print(f"DIMENSION {{name}} '' absolute 1 1")
due = time.time()
while True:
    for chart in range(charts):
        print(f"BEGIN many.c{{chart}}")
        print("\\n".join([f"SET {{name}} = {{random.getrandbits(20)}}" for name in names]))
        print("END")
    sys.stdout.flush()
    told += 1
    rounds.write_text(str(told))
    due += 1
    time.sleep(max(0.0, due - time.time()))
"""
CONFIG = """
[global]
    run as user = {user}
[directories]
    config = {folder}/config
    stock config = {folder}/config
    plugins = "{folder}/plugins"
    cache = {folder}/cache
    lib = {folder}/lib
    log = {folder}/log
[plugins]
    enable running new plugins = no
    many = yes
{others}
[health]
    enabled = no
[statsd]
    enabled = no
[web]
    bind to = 127.0.0.1
    default port = {port}
"""
OTHERS = (
    "PROC",
    "diskspace",
    "cgroups",
    "tc",
    "idlejitter",
    "checks",
    "timex",
    "statsd",
    "netdata monitoring",
    "profile",
)


def cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(process: int) -> float:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def collected(port: int) -> int:
    """Dimensions that the agent knows."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/charts", timeout=10) as answer:
        charts = json.load(answer)["charts"]
    return sum(len(chart["dimensions"]) for name, chart in charts.items() if name.startswith("many."))


def prepared(folder: Path, dimensions: int) -> int:
    """Write configuration and plug-in; return the port."""
    for name in ("config", "plugins", "cache", "lib", "log"):
        (folder / name).mkdir()
    (folder / "config/.opt-out-from-anonymous-statistics").touch()
    plugin = folder / "plugins/many.plugin"
    plugin.write_text(
        PLUGIN.format(
            python=sys.executable, charts=dimensions // PER_CHART, per_chart=PER_CHART, rounds=str(folder / "rounds")
        )
    )
    plugin.chmod(0o755)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    user = subprocess.run(["id", "-un"], check=True, capture_output=True, text=True).stdout.strip()
    others = "\n".join(f"    {name} = no" for name in OTHERS)
    (folder / "netdata.conf").write_text(CONFIG.format(user=user, folder=folder, others=others, port=port))
    return port


def cost(dimensions: int) -> dict[str, float]:
    """Run the agent for a while."""
    program = str(shutil.which("netdata"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        port = prepared(folder, dimensions)
        environment = {**os.environ, "DO_NOT_TRACK": "1", "DISABLE_TELEMETRY": "1"}
        with (folder / "output").open("wb") as output:
            agent = subprocess.Popen([program, "-D", "-c", str(folder / "netdata.conf"), "-P", str(folder / "pid")],
                                     env=environment, stdout=output, stderr=output, start_new_session=True)  # fmt: skip
        try:
            time.sleep(WARM_SECONDS)
            before, begun = cpu_seconds(agent.pid), int((folder / "rounds").read_text())
            time.sleep(SECONDS)
            spent, turns = cpu_seconds(agent.pid) - before, int((folder / "rounds").read_text()) - begun
            weight, known = resident_mib(agent.pid), collected(port)
        finally:
            agent.terminate()
            try:
                agent.wait(20)
            except subprocess.TimeoutExpired:
                agent.kill()
                agent.wait()
    if known != dimensions:
        raise ValueError(f"netdata collected {known} dimensions; expected {dimensions}")
    return {
        "dimensions": dimensions,
        "turns": turns,
        "ns_per_series_sample": round(spent / turns / dimensions * 1e9),
        "resident_mib": round(weight, 1),
    }


def costs(sizes: list[int]) -> dict[str, object]:
    """What every size costs, or why it is not known."""
    if shutil.which("netdata") is None:
        return {"skipped": "the program netdata is not on this machine (Debian: apt-get install netdata)"}
    version = subprocess.run(["netdata", "-v"], capture_output=True, text=True, check=False).stdout.strip()
    return {"version": version, "sizes": [cost(size) for size in sizes]}


if __name__ == "__main__":
    print(json.dumps(costs([int(argument) for argument in sys.argv[1:]] or [1_000, 10_000]), indent=2))
