"""The main job on made-up logs: two nights of a small site through real workers, and the morning after the second.

    make demo

Everything is kept in demo/, which the next demo makes anew.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

from benchmarks.generate import Site, host_names

HOME = Path("demo").absolute()
PDK = (sys.executable, "-c", "from pdk_pipeline.cli import main; main()")
SITE = Site(seed=7, hosts=host_names(6), tests=3_000, log_bytes=2_000)
SETTINGS = """\
# The settings of the demonstration; `pdk config` lists all there are.
settle_seconds = 0
"""


def main() -> None:
    """Show the whole way of a night's logs."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    (HOME / "pdk.toml").write_text(SETTINGS)
    today = date.today()  # noqa: DTZ011  (as the machine's clock has it, like the run names of a nightly script)
    yesterday = today - timedelta(days=1)
    incoming = HOME / "spool" / "incoming"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PDK_")}
    environment |= {"PDK_HOME": str(HOME)}

    def pdk(*words: str) -> None:
        print(f"\n$ pdk {' '.join(words)}", flush=True)
        subprocess.run([*PDK, *words], env=environment, check=False)

    print(f"$ PDK_HOME={HOME} pdk up &", flush=True)
    up = subprocess.Popen([*PDK, "up"], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        _wait_until_ready(up)
        print(
            f"\nIn the evening before last {len(SITE.hosts)} machines ran their tests; their logs arrive.", flush=True
        )
        SITE.night(yesterday, incoming)
        pdk("subscribe", "you@example.org")
        pdk("nightly", "daily", f"daily_{yesterday}")
        print("\nLast night one reported nothing, and another was switched off in the middle of a record.", flush=True)
        _spoil(SITE.night(today, incoming))
        pdk("nightly", "daily", f"daily_{today}")
        pdk("report", f"daily_{today}", "--most-lines", "12")
        pdk("runs")
        pdk("quarantine", "list")
    finally:
        up.send_signal(signal.SIGINT)
        up.communicate()
    print(f"\nThe database is {HOME / 'pdk.db'}, the logs are in {HOME / 'spool' / 'archive'},")
    print(f"the mails, for want of a mail server, in {HOME / 'outbox'}.")
    print(f"Look around with PDK_HOME={HOME}, e.g. `pdk show daily_{today} '*' -s F`; `pdk up` brings Flower back.")


def _wait_until_ready(up: subprocess.Popen[str]) -> None:
    assert up.stdout
    for line in up.stdout:
        if line.startswith("up "):
            print(line, end="", flush=True)
        if "ready; Ctrl-C" in line:
            return
    sys.exit("pdk up did not come up")


def _spoil(logs: list[Path]) -> None:
    """What happens: one machine reports nothing, and one was switched off in the middle of a record."""
    logs[-1].unlink()
    with logs[0].open("r+b") as log:
        log.truncate(log.seek(0, os.SEEK_END) - 300)


if __name__ == "__main__":
    main()
