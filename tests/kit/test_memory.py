"""What a burst needed goes back to the system."""

import subprocess
import sys
import textwrap

PROGRAM = textwrap.dedent("""
    import threading
    from aiops.kit.memory import give_back, limit_heaps

    def resident():
        return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")) / 1024

    assert limit_heaps()
    kept = []
    def burst():
        pieces = [bytes(20_000) for _ in range(4_000)]   # 80 MB in small pieces, each below the mmap threshold
        kept.append(bytes(20_000))                        # and one that pins the end of the heap
    before = resident()
    threads = [threading.Thread(target=burst) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    give_back()
    print(resident() - before)
""")


def test_a_burst_in_threads_leaves_little_behind() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 20


def test_numerical_libraries_start_no_threads_of_their_own() -> None:
    code = "from aiops.app.cli import main; main(['version']); import numpy, os; print(*os.listdir('/proc/self/task'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()[-1].split()) == 1
