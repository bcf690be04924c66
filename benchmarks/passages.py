"""What tests print: passages of output with gaps for numbers and words, put together into a test's log."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import date

# A line of -- ends a passage; `%06d` is a gap for a number, `%s` one for a word; @TEST@ is the test's name.
_ORDINARY = r"""
============================= test session starts ==============================
platform linux -- Python 3.11.7, pytest-8.4.%1d, pluggy-1.6.0 -- /opt/conda/envs/nightly/bin/python3
cachedir: .pytest_cache
rootdir: /srv/tests/@TEST@
configfile: setup.cfg
plugins: pandokia-2.3.0, astropy-header-0.2.2, doctestplus-1.4.0, remotedata-0.4.1
collecting ... collected %d items

--
@DATE@ 02:3%1d:5%1d,%03d - stpipe.step - INFO - Step %s instance created.
@DATE@ 02:3%1d:5%1d,%03d - stpipe.step - INFO - Step %s running with args (<ImageModel(%d, 2048)>,).
@DATE@ 02:3%1d:5%1d,%03d - stpipe.step - INFO - Using reference file /grp/crds/cache/references/ref_0%03d.fits
@DATE@ 02:3%1d:5%1d,%03d - stpipe.step - INFO - Prefetching reference files for exp_0%03d, reftypes = ['%s']
@DATE@ 02:3%1d:5%1d,%03d - stpipe.step - INFO - Step %s done
--
opening /srv/tests/data/@TEST@/image_%03d.fits
  extension 1 SCI   2048 x 2048   BITPIX = -32   checksum %08d
  extension 2 ERR   2048 x 2048   BITPIX = -32   checksum %08d
  extension 3 DQ    2048 x 2048   BITPIX = 16    checksum %08d
--
 row      x        y        flux      error   flag
   1  %4d.%02d  %4d.%02d  %5d.0   %2d.0   0
   2  %4d.%02d  %4d.%02d  %5d.0   %2d.0   0
   3  %4d.%02d  %4d.%02d  %5d.0   %2d.0   4
   4  %4d.%02d  %4d.%02d  %5d.0   %2d.0   0
--
comparing @TEST@/out/%s_%d.fits with @TEST@/ref/%s_%d.fits
    Headers contain differences:
      Keyword DATE     has different values: ignored
      Keyword CAL_VER  has different values: ignored
    maximum absolute difference: %1d.%04de-07 at pixel (%d, %d)
    maximum relative difference: %1d.%04de-05
    %d pixels differ of 4194304, within the tolerance
--
[ %4d.%06d] usb 1-%1d: new high-speed USB device number %d using xhci_hcd
[ %4d.%06d] EXT4-fs (nvme0n1p%1d): mounted filesystem with ordered data mode. Quota mode: none.
[ %4d.%06d] systemd[1]: Started Session %d of User tester.
[ %4d.%06d] audit: type=1400 audit(1763881%03d.%03d:%d): apparmor="ALLOWED" operation="open" comm="python3"
--
gcc -pthread -B /opt/conda/compiler_compat -Wno-unused-result -Wsign-compare -DNDEBUG -O2 -Wall -fPIC -Isrc/%s \
-I/opt/conda/envs/nightly/include/python3.11 -c src/%s/cdrizzle_%d.c -o build/temp.linux-x86_64/src/cdrizzle.o
src/%s/cdrizzle_%d.c:%d:9: warning: variable 'status' set but not used [-Wunused-but-set-variable]
  %d |     int status = 0;
      |         ^~~~~~
--
/opt/conda/envs/nightly/lib/python3.11/site-packages/astropy/io/fits/card.py:%d: VerifyWarning: Card is too long.
  warnings.warn('Card is too long, comment will be truncated.', VerifyWarning)
/opt/conda/envs/nightly/lib/python3.11/site-packages/numpy/core/fromnumeric.py:%d: RuntimeWarning: Mean of empty slice.
  return _methods._mean(a, axis=axis, dtype=dtype,
--
iteration   1   chi2 = %d.%04d   reduced = %1d.%04d   step = 1.000e-01
iteration   2   chi2 = %d.%04d   reduced = %1d.%04d   step = 1.000e-02
iteration   3   chi2 = %d.%04d   reduced = %1d.%04d   step = 1.000e-03
converged after 3 iterations, %d function evaluations
--
DEBUG    drizzlepac.%s:adrizzle.py:%d -Drizzle image: image_%03d.fits[SCI,1]
DEBUG    drizzlepac.%s:adrizzle.py:%d shape 4096 x 2051, scale 0.05, orientation %d.%02d
INFO     drizzlepac.%s:wcs_functions.py:%d WCS Keywords
CD_11  CD_12: 4.8%03dE-06  -1.3%03dE-05
CD_21  CD_22: -1.3%03dE-05  -4.8%03dE-06
CRVAL    : 5.6%04d  -72.0%04d
NAXIS    : 4096  2051
--
test_%s[%d] PASSED                                                      [ %2d%%]
test_%s[%d] PASSED                                                      [ %2d%%]
test_%s[%d] PASSED                                                      [ %2d%%]
test_%s[%d] SKIPPED (needs the remote data server)                      [ %2d%%]
--
/opt/conda/envs/nightly/lib/python3.11/site-packages/drizzlepac/util.py:41: DeprecationWarning: pkg_resources is \
deprecated as an API. The documentation of setuptools says what to use instead.
  from pkg_resources import parse_version
/opt/conda/envs/nightly/lib/python3.11/site-packages/stwcs/wcsutil/hstwcs.py:12: DeprecationWarning: Use of this \
function is deprecated and will be removed in a later release
  from . import instruments
--
The following task in the stwcs package can be run with TEAL:
                                   apply_headerlet
Setting up logfile :  /srv/tests/@TEST@/astrodrizzle.log
AstroDrizzle log file: /srv/tests/@TEST@/astrodrizzle.log
Number of cores: %1d
WARNING: FITSFixedWarning: 'datfix' made the change 'Set DATE-REF to '1858-11-17' from MJD-REF'. [astropy.wcs.wcs]
--
export CRDS_PATH=/grp/crds/cache CRDS_SERVER_URL=https://crds.example.org iref=/grp/hst/iref jref=/grp/hst/jref
export LC_ALL=C PYTHONHASHSEED=0 OMP_NUM_THREADS=1 MPLBACKEND=Agg XDG_CACHE_HOME=/srv/tests/.cache
+ cd /srv/tests/@TEST@
+ rm -rf out tmp
+ mkdir -p out tmp
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

_PRIMES = (41, 43, 47, 53, 59, 61, 67, 71, 73, 79)
"""Values to choose from for a gap: so many that no passage is ever filled in the same way again."""

_KINDS = 5
"""A test prints so many different passages, over and over."""


def _dotted(text: str) -> list[bytes]:
    passages = [part.strip("\n") for part in text.split("--\n") if part.strip()]
    return ["".join(f".{line}\n" for line in passage.splitlines()).encode() for passage in passages]


def _gaps(passage: bytes) -> list[bytes]:
    """The gaps of a passage as width and letter: `%06d` is 06d."""
    pieces = passage.replace(b"%%", b"").split(b"%")[1:]
    return [piece[: next(end for end, letter in enumerate(piece, 1) if letter in b"ds")] for piece in pieces]


_ORDINARY_PASSAGES = _dotted(_ORDINARY)
_FAILURE_PASSAGES = _dotted(_FAILURES)


class _Passage:
    """A passage with values for its gaps."""

    def __init__(self, text: bytes, rng: random.Random) -> None:
        self.text = text
        self.columns = [_column(number, gap, rng) for number, gap in enumerate(_gaps(text))]

    def filled(self, turn: int) -> bytes:
        """What is printed the `turn`th time."""
        return self.text % tuple([column[turn % len(column)] for column in self.columns])


def _column(number: int, gap: bytes, rng: random.Random) -> list[int] | list[bytes]:
    count = _PRIMES[number % len(_PRIMES)]
    if gap == b"s":
        return rng.choices(_WORDS, k=count)
    width = gap[:-1]
    return rng.choices(range(10 ** (int(width) if width else 1 + number % 4)), k=count)


class Writer:
    """Writes the logs of one machine's night, one after the other."""

    def __init__(self, number: int, day: date) -> None:
        rng = random.Random(number)
        dated = str(day).encode()
        self.ordinary = [_Passage(text.replace(b"@DATE@", dated), rng) for text in _ORDINARY_PASSAGES]
        self.failures = [_Passage(text, rng) for text in _FAILURE_PASSAGES]
        self.turn = 0

    def log(self, name: bytes, kind: int, length: int, *, fails: bool) -> bytes:
        """The dotted lines of a log of about `length` bytes, what went wrong at its end when the test fails.

        `kind` is the test's own number: a test prints the same passages every night, with other values in them.
        """
        turn = self.turn
        passages = [self.ordinary[(kind >> 8 * step) % len(self.ordinary)] for step in range(_KINDS)]
        parts = []
        written = 0
        while written < length:
            turn += 1
            parts.append(passages[turn * turn % _KINDS].filled(turn))
            written += len(parts[-1])
        text = b"".join(parts)
        text = text[: text.rfind(b"\n", 0, length) + 1]
        if fails:
            text += self.failures[kind % len(self.failures)].filled(turn)
        self.turn = turn
        return text.replace(b"@TEST@", name)
