"""Records of a log that look alike are read together; what comes out is as if each had been read by itself."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pdk_pipeline.formats import pdk, pdk_shapes
from pdk_pipeline.formats.fields import BLANK
from pdk_pipeline.results import Result, Results
from tests.unit.reading import UTC, Pieces, read

HEAD = b"START\ntest_run=r\nproject=p\nhost=h\ntda_from=%s\nSETDEFAULT\n\n"

SHAPES = [
    b"test_name=%(name)b\nstatus=%(status)b\nEND\n\n",
    b"test_name=%(name)b\nstatus=%(status)b\ntra_x=%(value)b\nlog:\n.%(value)b\n\nEND\n\n",
    b"name=%(name)b\nstart_time=%(time)b\nend_time=%(time)b\nstatus=%(status)b\nlog:\n.a\n.b\n\nattn=%(attn)b\nEND\n",
    b"host=%(host)b\ntest_name=%(name)b\nstatus=%(status)b\ntda_100%%=%(value)b\ntda_from=own\ntest_runner=%(value)b\nEND\n",
    b"test_run=%(host)b\nproject=%(value)b\ncontext=%(host)b\ncustom=c\ntest_name=%(name)b\nstatus=%(status)b\nEND\n",
    b"test_name=%(name)b\nstatus=%(status)b\nlocation=%(value)b\nlocation=twice\nlog=%(value)b\nEND\n",
]

# What most records say, and what is odd about some.
NAMES = st.sampled_from(
    [b"t/%d" % number for number in range(40)] * 2
    + [b"", b"/a//b.log", b"a b", b"\xff", b"nose.failure.Failure.runTest"]
)
STATUSES = st.sampled_from([b"P"] * 20 + [b"F", b"E", b"q", b"", b"X", b"P P"])
TIMES = st.sampled_from(
    [b"1795398580.338"] * 20 + [b"0", b"5.", b".5", b"1.2.3", b"", b"noon", b"-3", b"1e5", b"999999999999999", b"nan"]
    + [b"2026-11-23 01:00:00.5", b"Mon Nov 23 01:00:00 2026", "\u0661".encode()]
)  # fmt: skip
VALUES = st.sampled_from([b"v"] * 10 + [b"", b"\0", b"\xff", b'"\\', b"%s", b"x=y", b" ", b"\x85", "é\u2028".encode()])
RECORDS = st.builds(
    lambda shape, **values: shape % {name.encode(): value for name, value in values.items()},
    shape=st.sampled_from(SHAPES),
    name=NAMES,
    status=STATUSES,
    time=TIMES,
    value=VALUES,
    attn=st.sampled_from([b"Y", b"N", b"R", b"", b"?"]),
    host=st.sampled_from([b"a", b"b", b""]),
)
SECTIONS = st.builds(lambda head, records: HEAD % head + b"".join(records), VALUES, st.lists(RECORDS, max_size=30))
LOGS = st.lists(SECTIONS | RECORDS | st.just(b"nonsense\nEND\n"), max_size=4).map(b"".join)


@pytest.fixture(autouse=True)
def _first_log():
    """No log was read before."""
    pdk_shapes.familiar.clear()


def _one_by_one(log: bytes) -> list[object]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pdk._Reader, "_quick", lambda *_: None)
        return list(read(log))


@given(log=LOGS, at_once=st.sampled_from([1, 2, 5, 256]), piece=st.sampled_from([100, 1 << 20]))
@settings(max_examples=400)
@example(log=HEAD % b"h" + SHAPES[0] % {b"name": b"t", b"status": b"P"} * 5, at_once=256, piece=1 << 20)
def test_read_together_or_one_by_one_is_the_same(log, at_once, piece):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pdk_shapes, "MOST_AT_ONCE", at_once)
        together = read(log, piece=piece)
    singly = _one_by_one(log)
    # Of one run, project and environment they come in the log's order.
    assert sorted(map(str, together)) == sorted(map(str, singly))
    for one in {reading[:5] for reading in singly if isinstance(reading, Result)}:
        assert [r for r in together if r[:5] == one] == [r for r in singly if r[:5] == one]
    assert [r for r in together if not isinstance(r, Result)] == [r for r in singly if not isinstance(r, Result)]


def _read_in_columns(log: bytes) -> list[Results]:
    readings = pdk.read(Pieces(log, 1 << 20), defaults={}, zone=UTC, record_limit=1 << 20)
    return [reading for reading in readings if isinstance(reading, Results)]


def test_records_of_several_shapes_are_read_together_in_their_order():
    names = [b"t%d" % number for number in range(50)]
    log = HEAD % b"x" + b"".join(
        SHAPES[number % 3] % {b"name": name, b"status": b"F", b"value": b"v", b"time": b"1.5", b"attn": b"R"}
        for number, name in enumerate(names)
    )
    (together,) = _read_in_columns(log)
    assert len(together.test_name) > 40
    numbers = [int(name[1:]) for name in together.test_name]
    assert all(after == before + 1 for before, after in pairwise(numbers))


def test_shapes_hold_for_the_next_defaults_too():
    section = b"".join(SHAPES[1] % {b"name": b"t%d" % n, b"status": b"P", b"value": b"v"} for n in range(10))
    first, second = _read_in_columns(HEAD % b"one" + section + HEAD % b"two" + section)
    assert len(first.test_name) == 8
    assert len(second.test_name) == 10
    assert set(second.tda) == {'{"from":"two"}'}


def test_the_next_log_is_read_by_the_shapes_of_the_one_before():
    section = b"".join(SHAPES[1] % {b"name": b"t%d" % n, b"status": b"P", b"value": b"v"} for n in range(10))
    (first,) = _read_in_columns(HEAD % b"one" + section)
    (second,) = _read_in_columns(HEAD % b"two" + section)
    assert (len(first.test_name), len(second.test_name)) == (8, 10)
    assert set(second.tda) == {'{"from":"two"}'}


def test_a_log_that_is_odd_throughout_is_given_up_on(monkeypatch):
    monkeypatch.setattr(pdk_shapes, "MOST_AT_ONCE", 4)
    log = HEAD % b"x" + b"".join(
        SHAPES[2] % {b"name": b"t%d" % n, b"status": b"P", b"time": b"1" if n < 9 else b"noon", b"attn": b""}
        for n in range(100)
    )
    tried = []
    results = pdk_shapes.results
    monkeypatch.setattr(pdk_shapes, "results", lambda *how: tried.append(1) or results(*how))
    assert read(log) == _one_by_one(log)
    assert 0 < len(tried) < 10


def test_a_shape_is_learned_once_whatever_is_odd(monkeypatch):
    made = []
    init = pdk_shapes.Shape.__init__
    monkeypatch.setattr(pdk_shapes.Shape, "__init__", lambda self, *args: made.append(1) or init(self, *args))
    monkeypatch.setattr(pdk_shapes, "MOST_AT_ONCE", 20)
    log = HEAD % b"x" + b"".join(
        SHAPES[2] % {b"name": b"t%d" % n, b"status": b"P", b"time": b"noon" if n == 30 else b"1", b"attn": b""}
        for n in range(100)
    )
    together = read(log)
    assert len(made) == 1
    assert together == _one_by_one(log)


def test_the_shapes_that_come_often_are_not_given_up_for_new_ones():
    shapes = pdk_shapes.Shapes(BLANK | {"test_run": "r", "project": "p"}, UTC)
    for number in range(20):
        for _ in range(2):
            shapes.learn(b"test_name=t\nstatus=P\ntra_%d=x\n" % number, b"", has_log=False)
    first, *rest = [shape.kind[0][-1] for shape in shapes._known]
    assert first == "tra_0"
    assert len(rest) == pdk_shapes.MOST_SHAPES - 1
    assert rest[-1] == "tra_19"


def test_very_large_defaults_are_not_multiplied():
    large = b"x" * 100_000
    log = HEAD % large + b"".join(SHAPES[0] % {b"name": b"t%d" % n, b"status": b"P"} for n in range(10))
    assert _read_in_columns(log) == []
    assert len(read(log)) == 10
    many = HEAD.replace(b"SETDEFAULT", b"".join(b"tda_%d=x\n" % n for n in range(2000)) + b"SETDEFAULT") % b"x"
    assert _read_in_columns(many + b"".join(SHAPES[0] % {b"name": b"t%d" % n, b"status": b"P"} for n in range(9))) == []
