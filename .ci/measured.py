"""Runs a command, and says how long it took and how large its largest process grew.

    python .ci/measured.py LIMIT COMMAND...

fails where the command does, and where a process took more than LIMIT gigabytes. Processes of
processes count, if their parents wait for them.
"""

import resource
import subprocess
import sys
import time

limit, *command = sys.argv[1:]
start = time.monotonic()
status = subprocess.run(command).returncode
minutes = (time.monotonic() - start) / 60
# In kilobytes, but for macOS, which counts bytes.
unit = 1 if sys.platform == "darwin" else 1024
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit / 1e9
print(f"Wall time {minutes:.1f} min, largest process {peak:.2f} GB (limit {limit} GB)")
sys.exit(status or peak > float(limit))
