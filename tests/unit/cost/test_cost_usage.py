"""Windows, Lambda's reports, state transitions, schedules."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.cost import lambda_logs
from mlops.cost.executions import transitions
from mlops.cost.schedules import per_month
from mlops.cost.standing import BY_USE, CHARGED, FREE, function_name
from mlops.cost.usage import FunctionUsage, Window
from mlops.errors import MlopsError

D = Decimal
TEXT = (
    "REPORT RequestId: 8f5c\tDuration: 12.34 ms\tBilled Duration: 213 ms\tMemory Size: 512 MB\t"
    "Max Memory Used: 83 MB\tInit Duration: 200.12 ms\t\nXRAY TraceId: 1-5759"
)
RECORD = json.dumps({
    "time": "2026-11-22T10:00:00Z", "type": "platform.report",
    "record": {"requestId": "8f5c", "status": "success",
               "metrics": {"durationMs": 1.5, "billedDurationMs": 2, "memorySizeMB": 256, "maxMemoryUsedMB": 60}},
})  # fmt: skip


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize("month", [f"2026-{m:02}" for m in range(1, 13)] + ["2028-02"])
def test_a_calendar_month_is_one_month_however_long_it_is(month: str) -> None:
    start = at(f"{month}-01")
    end = (start + timedelta(days=32)).replace(day=1)
    assert abs(Window(start, end).months - 1) < D("1e-20")


@given(
    start=st.datetimes(at("2024-01-01").replace(tzinfo=None), at("2027-01-01").replace(tzinfo=None)),
    first=st.integers(1, 10**7),
    second=st.integers(1, 10**7),
)
def test_months_and_hours_add_up_over_any_split(start: datetime, first: int, second: int) -> None:
    a = start.replace(tzinfo=UTC)
    b = a + timedelta(seconds=first)
    c = b + timedelta(seconds=second)
    whole = Window(a, c)
    assert abs(Window(a, b).months + Window(b, c).months - whole.months) < D("1e-18")
    assert abs(Window(a, b).hours + Window(b, c).hours - whole.hours) < D("1e-18")


def test_a_day_of_february_is_a_larger_part_of_its_month_than_one_of_march() -> None:
    assert Window(at("2026-02-01"), at("2026-02-02")).months == D(1) / 28
    assert Window(at("2026-03-01"), at("2026-03-02")).months == D(1) / 31


def test_windows_that_end_before_they_start_or_have_no_zone_are_refused() -> None:
    with pytest.raises(MlopsError, match="before it starts"):
        Window(at("2026-02-02"), at("2026-02-01"))
    with pytest.raises(MlopsError, match="time zone"):
        Window(at("2026-02-01").replace(tzinfo=None), at("2026-02-02"))


def test_a_report_line_is_read() -> None:
    found = lambda_logs.parse(TEXT)
    assert found == lambda_logs.Invocation(D("12.34"), D(213), 512, 83, True)


def test_a_json_report_is_read() -> None:
    found = lambda_logs.parse(RECORD)
    assert found == lambda_logs.Invocation(D("1.5"), D(2), 256, 60, False)


@given(st.text())
def test_any_other_line_is_no_report_and_never_an_error(line: str) -> None:
    for text in (line, "REPORT " + line, '{"type": "platform.report", ' + line):
        found = lambda_logs.parse(text)
        assert found is None or found.memory_mb >= 0


def test_a_number_with_two_points_is_no_report() -> None:
    assert lambda_logs.parse(TEXT.replace("12.34 ms", "1.2.3 ms")) is None


def sample(*pairs: tuple[str, str]) -> lambda_logs.Sample:
    return lambda_logs.Sample(tuple(lambda_logs.Invocation(D(d), D(b), 128, 50, False) for d, b in pairs))


def test_billed_time_is_the_sum_of_reports_when_there_is_one_for_each_invocation() -> None:
    billed, basis = lambda_logs.billed(D("3.0"), 2, sample(("1.2", "2"), ("1.8", "2")))
    assert billed == 4
    assert basis == "sum of 2 REPORT lines"


def test_billed_time_is_extrapolated_from_a_part_of_the_reports() -> None:
    billed, basis = lambda_logs.billed(D(1000), 100, sample(("1", "2"), ("2", "2")))
    assert billed == 1000 + 100 * D("0.5")
    assert "mean of 2 REPORT lines" in basis


def test_without_reports_half_a_millisecond_an_invocation_is_added_and_said() -> None:
    billed, basis = lambda_logs.billed(D(1000), 100, sample())
    assert billed == 1050
    assert "start-up time not seen" in basis


def test_compute_is_memory_times_billed_seconds_on_the_right_processor() -> None:
    used = FunctionUsage("f", 1536, "arm64", 10, 0, 0, D(900), D(1000), "x", ephemeral_mb=1536)
    found = {q.key: q.amount for q in used.quantities()}
    assert found == {"lambda.requests": 10, "lambda.gb_seconds_arm": D("1.5"), "lambda.ephemeral_gb_seconds": 1}


def test_transitions_count_entered_states_and_retries() -> None:
    history = ["ExecutionStarted", "ChoiceStateEntered", "ChoiceStateExited", "TaskStateEntered",
               "LambdaFunctionScheduled", "LambdaFunctionFailed", "LambdaFunctionScheduled",
               "LambdaFunctionSucceeded", "TaskStateExited", "SucceedStateEntered", "ExecutionSucceeded"]  # fmt: skip
    assert transitions(history) == 4
    assert transitions([]) == 0


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("rate(1 day)", D(730) / 24), ("rate(5 minutes)", D(8760)), ("rate(1 hour)", D(730)),
        ("cron(0 6 * * ? *)", D(730) / 24), ("cron(0/15 * * * ? *)", D(730) * 4),
        ("cron(0 8 ? * MON-FRI *)", D(730) / 24 * 5 / 7), ("cron(0 0 1 * ? *)", D(1)),
        ("cron(0 0 L * ? *)", D(1)), ("cron(30 12 1,15 JAN ? *)", D(2) / 12), ("cron(0 0 ? * 2#1 *)", D(1)),
        ("at(2026-11-22T10:00:00)", D(0)),
    ],
)  # fmt: skip
def test_schedules_fire_so_often(expression: str, times: Decimal) -> None:
    assert abs(per_month(expression) - times) < D("1e-15")


@pytest.mark.parametrize(
    "expression", ["", "every day", "rate(0 days)", "rate(1 fortnight)", "cron(0 6 * *)", "cron(x 6 * * ? *)",
                   "cron(70 6 * * ? *)", "cron(0/0 6 * * ? *)"]
)  # fmt: skip
def test_schedules_that_cannot_be_read_are_refused(expression: str) -> None:
    with pytest.raises(MlopsError, match="schedule"):
        per_month(expression)


def test_a_resource_type_is_charged_by_one_rule_only() -> None:
    assert not set(CHARGED) & BY_USE
    assert not set(CHARGED) & FREE
    assert not BY_USE & FREE


def test_function_names_are_their_folders() -> None:
    assert [function_name(x) for x in ("PredictFunction", "IngestValidate", "Function")] == [
        "predict", "ingest_validate", "function",
    ]  # fmt: skip
