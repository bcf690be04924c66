"""One trial: nights under faults, the same nights without, and the differences."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults import findings
from tests.faults.faults import Faults, heal_mail
from tests.faults.installation import Installation, workshop
from tests.faults.nights import Nights

MOST_SHOWN = 60

KEPT_RUNS = 3
"""Older ones are deleted, and cleaned while the next night goes on."""


class Trial:
    """Nights until so many faults have been injected."""

    def __init__(self, seed: int, faults: int, *, pause: float, tell: Callable[[str], None]) -> None:
        self.seed = seed
        self.faults = faults
        self.pause = pause
        self.tell = tell
        self.injected: list[str] = []

    def run(self, keep: Path | None = None) -> list[str]:
        """Returns what is wrong."""
        with workshop(keep) as directory:
            began = time.monotonic()
            wrong, disturbed, nights, copies = self._disturbed(directory / "disturbed")
            seconds = time.monotonic() - began
            if not wrong:
                undisturbed = self._undisturbed(directory / "undisturbed", nights)
                wrong = findings.differences(disturbed, undisturbed)
        kinds = Counter(self.injected)
        self.tell(f"seed {self.seed}: {len(self.injected)} faults in {nights} nights, {seconds:.0f} s")
        self.tell("; ".join(f"{kind} {times}" for kind, times in kinds.most_common()))
        self.tell(f"copies of mails, under the same Message-ID: {copies}")
        self.tell(f"{len(wrong)} differences" if wrong else "no difference")
        for line in wrong[:MOST_SHOWN]:
            self.tell(f"  {line}")
        return wrong

    def _disturbed(self, directory: Path):
        with Installation(directory) as site:
            nights = Nights(self.seed, directory / "logs")
            wrong: list[str] = []
            number = 0
            disturber = threading.Thread(target=self._disturb, args=(site,))
            try:
                site.set_up()
                disturber.start()
                while disturber.is_alive():
                    self._night(site, nights, number)
                    number += 1
            except Exception:  # noqa: BLE001
                wrong.append(traceback.format_exc())
                self.faults = 0
            disturber.join()
            heal_mail(site.mail)
            site.see_that_it_is_up()
            try:
                if not wrong:
                    self._end(site)
            except Exception:  # noqa: BLE001
                wrong.append(traceback.format_exc())
            for line, times in site.said.most_common(12):
                self.tell(f"    said {times} times: {line}")
            if wrong:
                wrong.append(f"waiting: {site.waiting()}")
                wrong.append("\n".join(site.up.lines[-60:]))
                return wrong, {}, number, 0
            return findings.unsound(site), findings.of(site), number, findings.copies(site)

    def _undisturbed(self, directory: Path, count: int):
        with Installation(directory) as site:
            nights = Nights(self.seed, directory / "logs")
            site.set_up()
            for number in range(count):
                self._night(site, nights, number)
            self._end(site)
            assert not findings.unsound(site)
            return findings.of(site)

    def _night(self, site: Installation, nights: Nights, number: int) -> None:
        if number >= KEPT_RUNS:
            # Before the night: its report tells since when a test fails, as far as there are runs.
            old = Nights.run(number - KEPT_RUNS)
            site.insist(lambda: site.pdk("delete_run", old) in (0, 1) and self._is_gone(site, old), f"delete {old}")
        tidier = threading.Thread(target=site.give, args=("clean", "--quiet"))
        tidier.start()
        night = nights.night(number)
        site.do(night)
        tidier.join()
        self.tell(f"{night.run} is done, {len(self.injected)} faults so far")

    @staticmethod
    def _is_gone(site: Installation, run: str) -> bool:
        return not site.rows("SELECT 1 FROM run WHERE name = ? AND deleted_at IS NULL", run)

    @staticmethod
    def _end(site: Installation) -> None:
        site.wait_until_quiet()
        site.give("clean", "--quiet")

    def _disturb(self, site: Installation) -> None:
        chance = random.Random(self.seed)
        faults = Faults(site, chance)
        while len(self.injected) < self.faults:
            time.sleep(chance.expovariate(1 / self.pause))
            site.see_that_it_is_up()
            done = faults.inject()
            if done:
                self.injected.append(done)
