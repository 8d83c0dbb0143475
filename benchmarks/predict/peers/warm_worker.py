"""Runs in a peer's environment: loads its handler and times calls when it is told to.

Reads lines "<event name> <calls>" and writes the mean nanoseconds of one call, by the clock and of CPU; "memory" writes
resident KiB.
"""

import importlib
import json
import os
import sys
import time


class Context:
    """What the runtime hands over beside the event."""

    function_name = "predict"
    function_version = "1"
    invoked_function_arn = "arn:aws:lambda:eu-central-1:123456789012:function:predict"
    memory_limit_in_mb = "1024"
    aws_request_id = "5f1c9a3e-0000-4000-8000-000000000002"

    def get_remaining_time_in_millis(self):
        return 15_000


def main():
    answers = os.fdopen(os.dup(1), "w")  # what the function prints goes to /dev/null, as to a log that is read
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
    module, _, name = sys.argv[1].rpartition(".")
    handler = getattr(importlib.import_module(module), name)
    events = {}
    for count in ("1", "100"):
        with open(os.path.join(os.environ["BENCH_MODEL"], f"event-{count}.json")) as stream:
            events[count] = json.load(stream)
    context = Context()
    for line in sys.stdin:
        if line.strip() == "memory":
            with open("/proc/self/status") as stream:
                answer = next(row.split()[1] for row in stream if row.startswith("VmRSS:"))
        else:
            name, calls = line.split()
            event, calls = events[name], int(calls)
            handler(event, context)  # the processor has served others since the last sample
            started, used = time.perf_counter_ns(), time.process_time_ns()
            for _ in range(calls):
                response = handler(event, context)
            used = time.process_time_ns() - used
            answer = f"{(time.perf_counter_ns() - started) / calls} {used / calls}"
            assert response["statusCode"] == 200, response
        answers.write(f"{answer}\n")
        answers.flush()


main()
