"""What tests print: passages of output with gaps for numbers and words, put together into a test's log."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

# A line of -- ends a passage; `%06d` is a gap for a number, `%s` one for a word; @TEST@ is the test's name.
_ORDINARY = r"""
============================= test session starts ==============================
platform linux -- Python 3.11.%d, pytest-8.4.%d, pluggy-1.6.0 -- /opt/conda/envs/nightly/bin/python3
cachedir: .pytest_cache
rootdir: /srv/tests/@TEST@
configfile: setup.cfg
plugins: pandokia-2.3.0, astropy-header-0.2.2, doctestplus-1.4.0, remotedata-0.4.1
collecting ... collected %d items

--
@DATE@ 02:3%1d:5%1d,%03d - stpipe.step - INFO - Step %s instance created.
@DATE@ 02:3%1d:5%1d,%03d - stpipe.step - INFO - Step %s running with args (<ImageModel(%d, %d)>,).
@DATE@ 02:3%1d:5%1d,%03d - stpipe.step - INFO - Using reference file /grp/crds/cache/references/ref_%06d.fits
@DATE@ 02:3%1d:5%1d,%03d - stpipe.step - INFO - Prefetching reference files for exp_%06d, reftypes = ['%s']
@DATE@ 02:3%1d:5%1d,%03d - stpipe.step - INFO - Step %s done
--
opening /srv/tests/data/@TEST@/image_%03d.fits
  extension 1 SCI   %5d x %4d   BITPIX = -32   checksum %08d
  extension 2 ERR   %5d x %4d   BITPIX = -32   checksum %08d
  extension 3 DQ    %5d x %4d   BITPIX = 16    checksum %08d
--
 row      x        y        flux      error   flag
   1  %4d.%03d  %4d.%03d  %7d.%02d   %3d.%02d   0
   2  %4d.%03d  %4d.%03d  %7d.%02d   %3d.%02d   0
   3  %4d.%03d  %4d.%03d  %7d.%02d   %3d.%02d   4
   4  %4d.%03d  %4d.%03d  %7d.%02d   %3d.%02d   0
--
comparing @TEST@/out/%s_%d.fits with @TEST@/ref/%s_%d.fits
    Headers contain differences:
      Keyword DATE     has different values: ignored
      Keyword CAL_VER  has different values: ignored
    maximum absolute difference: %d.%06de-%02d at pixel (%d, %d)
    maximum relative difference: %d.%06de-%02d
    %d pixels differ of %d, within the tolerance
--
[ %4d.%06d] usb 1-%d: new high-speed USB device number %d using xhci_hcd
[ %4d.%06d] EXT4-fs (nvme0n1p%d): mounted filesystem with ordered data mode. Quota mode: none.
[ %4d.%06d] systemd[1]: Started Session %d of User tester.
[ %4d.%06d] audit: type=1400 audit(17638%05d.%03d:%d): apparmor="ALLOWED" operation="open" pid=%d comm="python3"
--
gcc -pthread -B /opt/conda/compiler_compat -Wno-unused-result -Wsign-compare -DNDEBUG -O2 -Wall -fPIC -Isrc/%s \
-I/opt/conda/envs/nightly/include/python3.11 -c src/%s/cdrizzle_%d.c -o build/temp.linux-x86_64/src/%s/cdrizzle_%d.o
src/%s/cdrizzle_%d.c:%d:%d: warning: variable 'status_%d' set but not used [-Wunused-but-set-variable]
  %d |     int status_%d = 0;
      |         ^~~~~~~~
--
/opt/conda/envs/nightly/lib/python3.11/site-packages/astropy/io/fits/card.py:%d: VerifyWarning: Card is too long.
  warnings.warn('Card is too long, comment will be truncated.', VerifyWarning)
/opt/conda/envs/nightly/lib/python3.11/site-packages/numpy/core/fromnumeric.py:%d: RuntimeWarning: Mean of empty slice.
  return _methods._mean(a, axis=axis, dtype=dtype,
--
iteration %3d   chi2 = %d.%06d   reduced = %d.%04d   step = %d.%03de-%02d
iteration %3d   chi2 = %d.%06d   reduced = %d.%04d   step = %d.%03de-%02d
iteration %3d   chi2 = %d.%06d   reduced = %d.%04d   step = %d.%03de-%02d
converged after %d iterations, %d function evaluations
--
DEBUG    drizzlepac.%s:adrizzle.py:%d -Drizzle image: image_%03d.fits[SCI,1]
DEBUG    drizzlepac.%s:adrizzle.py:%d shape %d x %d, scale 0.%04d, orientation %d.%05d
INFO     drizzlepac.%s:wcs_functions.py:%d WCS Keywords
CD_11  CD_12: %d.%09dE-06  -%d.%09dE-05
CD_21  CD_22: -%d.%09dE-05  -%d.%09dE-06
CRVAL    : %d.%09d  -%d.%09d
NAXIS    : %d  %d
--
test_%s[%d] PASSED                                                      [ %2d%%]
test_%s[%d] PASSED                                                      [ %2d%%]
test_%s[%d] PASSED                                                      [ %2d%%]
test_%s[%d] SKIPPED (needs the remote data server)                      [ %2d%%]
--
memory: %d kB resident, %d kB peak, %d page faults
cpu: %d.%02d s user, %d.%02d s system, %d voluntary switches
--
"""

_FAILURES = r"""
=================================== FAILURES ===================================
    def test_@TEST@(tmp_path, image):
        result = %s.run(image, threshold=%d)
>       assert_allclose(result.mean(), expected, rtol=1e-%d)
E       AssertionError:
E       Not equal to tolerance rtol=1e-%02d, atol=0
E
E       Mismatched elements: %d / %d (%d.%d%%)
E       Max absolute difference: %d.%06d
E       Max relative difference: 0.%08d
E        x: array(%d.%06d)
E        y: array(%d.%06d)

@TEST@.py:%d: AssertionError
--
Traceback (most recent call last):
  File "/srv/tests/@TEST@.py", line %d, in test_%s
    model = datamodels.open(path)
  File "/opt/conda/envs/nightly/lib/python3.11/site-packages/datamodels/util.py", line %d, in open
    hdulist = fits.open(init, memmap=memmap)
  File "/opt/conda/envs/nightly/lib/python3.11/site-packages/astropy/io/fits/hdu/hdulist.py", line %d, in fitsopen
    return HDUList.fromfile(name, mode, memmap, save_backup, cache, lazy_load_hdus, **kwargs)
FileNotFoundError: [Errno 2] No such file or directory: '/srv/tests/data/@TEST@/image_%03d.fits'
--
"""

_WORDS = b"flat_field dark_current assign_wcs ramp_fit extract_1d jump refpix photom resample outlier".split()

_FILLINGS = 48
"""Sets of numbers for each passage: so many that none comes again within what is compressed together."""

_KINDS = 5
"""A test prints so many different passages, over and over."""


def _dotted(text: str) -> list[bytes]:
    passages = [part.strip("\n") for part in text.split("--\n") if part.strip()]
    return ["".join(f".{line}\n" for line in passage.splitlines()).encode() for passage in passages]


def _gaps(passage: bytes) -> list[bytes]:
    """The gaps of a passage as width and letter: `%06d` is 06d."""
    pieces = passage.replace(b"%%", b"").split(b"%")[1:]
    return [piece[: next(end for end, letter in enumerate(piece, 1) if letter in b"ds")] for piece in pieces]


_ORDINARY_PASSAGES = [(passage, _gaps(passage)) for passage in _dotted(_ORDINARY)]
_FAILURE_PASSAGES = [(passage, _gaps(passage)) for passage in _dotted(_FAILURES)]


class Writer:
    """Writes the logs of one machine's night, one after the other."""

    def __init__(self, number: int, day: date) -> None:
        rng = random.Random(number)
        dated = str(day).encode()
        self.ordinary = [
            (passage.replace(b"@DATE@", dated), _fillings(gaps, rng)) for passage, gaps in _ORDINARY_PASSAGES
        ]
        self.failures = [(passage, _fillings(gaps, rng)) for passage, gaps in _FAILURE_PASSAGES]
        self.turn = 0

    def log(self, name: bytes, kind: int, length: int, *, fails: bool) -> bytes:
        """The dotted lines of a log of about `length` bytes, what went wrong at its end when the test fails.

        `kind` is the test's own number: a test prints the same passages every night, with other numbers in them.
        """
        turn = self.turn
        passages = [self.ordinary[(kind >> 8 * step) % len(self.ordinary)] for step in range(_KINDS)]
        parts = []
        written = 0
        while written < length:
            turn += 1
            passage, fillings = passages[turn * turn % _KINDS]
            part = passage % fillings[turn % _FILLINGS]
            parts.append(part)
            written += len(part)
        text = b"".join(parts)
        text = text[: text.rfind(b"\n", 0, length) + 1]
        if fails:
            passage, fillings = self.failures[kind % len(self.failures)]
            text += passage % fillings[turn % _FILLINGS]
        self.turn = turn
        return text.replace(b"@TEST@", name)


def _fillings(gaps: list[bytes], rng: random.Random) -> list[tuple[int | bytes, ...]]:
    columns: list[list[int] | list[bytes]] = []
    for gap in gaps:
        width = gap[:-1]
        if gap == b"s":
            columns.append(rng.choices(_WORDS, k=_FILLINGS))
        else:
            columns.append(rng.choices(range(10 ** (int(width) if width else 1 + len(columns) % 4)), k=_FILLINGS))
    return list(zip(*columns, strict=True))
