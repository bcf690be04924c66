"""JUnit XML: what tests are called, whichever tool wrote the report."""

from __future__ import annotations

import pytest

from tests.unit.reading import results, skipped
from tests.unit.reports import case, junit, suite


def names(report: str, **options: str) -> list[str]:
    return [result.test_name for result in results(junit(report, **options))]


@pytest.mark.parametrize(
    ("report", "name"),
    [
        pytest.param(
            suite('<testcase classname="test.test_flat.TestBias" name="test_mean[a b/c.fits]"/>', name="pytest"),
            "test/test_flat/TestBias/test_mean[a_b/c.fits]",
            id="pytest",
        ),
        pytest.param(
            suite('<testcase name="mean" classname="org.calib.FlatTest"/>', name="org.calib.FlatTest"),
            "org/calib/FlatTest/mean",
            id="surefire",
        ),
        pytest.param(
            suite('<testcase name="mean" classname="org.calib.FlatTest"/>', name="org.calib.FlatTest$Inner"),
            "org/calib/FlatTest/mean",
            id="surefire-nested",
        ),
        pytest.param(
            suite('<testcase name="[1] 1.5, x" classname="org.calib.FlatTest"/>', name="FlatTest"),
            "org/calib/FlatTest/[1]_1.5,_x",
            id="gradle",
        ),
        pytest.param(
            suite('<testcase classname="roots" name="handles /a.b/ paths"/>', name="packages/x/flat.test.js"),
            "packages/x/flat.test.js/roots/handles_/a.b/_paths",
            id="jest",
        ),
        pytest.param(
            suite('<testcase classname="" name="top level"/>', name="packages/x/flat.test.js"),
            "packages/x/flat.test.js/top_level",
            id="jest-without-describe",
        ),
        pytest.param(
            suite('<testcase classname="Flat has a mean" name="Flat has a mean"/>', name="Flat"),
            "Flat/Flat_has_a_mean",
            id="jest-junit",
        ),
        pytest.param(
            suite('<testcase classname="" name=""/>', name="packages/x/flat.test.js"),
            "packages/x/flat.test.js",
            id="jest-without-a-name",
        ),
        pytest.param(
            suite('<testcase classname="flat" name="TestMean/of_two"/>', name="example.org/calib/flat"),
            "example.org/calib/flat/TestMean/of_two",
            id="go-junit-report-1",
        ),
        pytest.param(
            suite('<testcase classname="example.org/calib/flat" name="TestMean"/>', name="example.org/calib/flat"),
            "example.org/calib/flat/TestMean",
            id="go-junit-report-2",
        ),
        pytest.param(
            suite(suite('<testcase classname="test" name="works"/>', name="mean"), name="flat"),
            "flat/mean/test/works",
            id="node",
        ),
        pytest.param(
            suite(
                suite(
                    suite('<testcase name="mean #0" class="Calib\\FlatTest" classname="Calib.FlatTest"/>',
                          name="Calib\\FlatTest::mean"),
                    name="Calib\\FlatTest",
                ),
                name="unit",
            ),
            "unit/Calib/FlatTest/mean_#0",
            id="phpunit",
        ),
        pytest.param(
            suite('<testcase classname="tests.TestFlat" name="test_mean"/>', name="tests.TestFlat-20261123060000"),
            "tests/TestFlat/test_mean",
            id="unittest-xml-reporting",
        ),
        pytest.param(
            suite('<testcase classname="spec.flat_spec" name="Flat has a mean"/>', name="rspec2"),
            "spec/flat_spec/Flat_has_a_mean",
            id="rspec",
        ),
        pytest.param(
            suite('<testcase classname="calib::bin/flat" name="tests::mean"/>', name="calib::bin/flat"),
            "calib/bin/flat/tests/mean",
            id="nextest",
        ),
        pytest.param(
            suite('<testcase classname="Calib.FlatTest" name="Mean(x: 1.5)"/>', name="Calib.Tests.dll"),
            "Calib.Tests.dll/Calib/FlatTest/Mean(x:_1.5)",
            id="dotnet",
        ),
        pytest.param(
            suite('<testcase name="calib/flat_test" status="run"/>', name="calib/flat_test"),
            "calib/flat_test",
            id="bazel",
        ),
        pytest.param(
            suite('<testcase name="io.fits" classname="io.fits" status="run"/>', name="Linux-g++"),
            "io.fits",
            id="ctest",
        ),
    ],
)  # fmt: skip
def test_a_name_is_where_the_test_stands_and_what_it_is_called(report, name):
    assert names(report) == [name]


def test_of_cases_with_one_name_each_is_kept_under_a_number_in_the_order_of_the_report():
    report = f"<testsuites>{suite(case('mean'), case('mean'), case('bias'))}{suite(case('mean'))}</testsuites>"
    assert names(report) == [
        "calib/FlatTest/mean", "calib/FlatTest/mean~2", "calib/FlatTest/bias", "calib/FlatTest/mean~3",
    ]  # fmt: skip


def test_a_number_is_never_a_name_that_is_there_already():
    assert names(suite(case("a~2"), case("a"), case("a"), case("a.log"), case("a b"), case("a_b"))) == [
        "calib/FlatTest/a~2", "calib/FlatTest/a", "calib/FlatTest/a~3", "calib/FlatTest/a~4",
        "calib/FlatTest/a_b", "calib/FlatTest/a_b~2",
    ]  # fmt: skip


def test_cases_of_different_hosts_may_have_one_name():
    both = suite(case(), hostname="apple") + suite(case(), hostname="banana")
    found = results(junit(f"<testsuites>{both}</testsuites>"))
    assert [(result.host, result.test_name) for result in found] == [
        ("apple", "calib/FlatTest/bias"), ("banana", "calib/FlatTest/bias"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("[1] org.Flat@5e9f23b4", "[1]_org.Flat"),
        ("test[&lt;Flat object at 0x7f3c2a&gt;]", "test[<Flat_object>]"),
        ("mails ann@example.org", "mails_ann@example.org"),
    ],
)
def test_a_name_has_no_addresses_of_objects_which_are_others_every_night(written, kept):
    assert names(suite(case(written))) == [f"calib/FlatTest/{kept}"]


def test_what_nose_could_not_import_is_no_test():
    (reading,) = junit(suite('<testcase classname="nose.failure.Failure" name="runTest"/>', name="nosetests"))
    assert skipped([reading]) == [(2, "nose.failure.Failure.runTest is not a test")]
