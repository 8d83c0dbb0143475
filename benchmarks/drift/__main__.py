"""What drift-check is worth: its speed, its known answers, real data with a known history.

    python -m benchmarks.drift speed [--rows 1000000] [--rounds 5] [--seconds 900] [--only "Evidently,NannyML"]
    python -m benchmarks.drift known [--windows 2000]
    python -m benchmarks.drift whole [--windows 2000]
    python -m benchmarks.drift beside [--windows 200] [--seconds 600] [--only "Evidently,NannyML"] [--case "no drift"]
    python -m benchmarks.drift history [--data FOLDER] [--plot docs/figures/drift-streams.svg]
    python -m benchmarks.drift references

Makes every environment itself (below .cache/bench/drift) and prints tables in Markdown, as docs/drift.md has them.
FOLDER may hold weather.csv, german_credit.csv and elec.csv; without it only the sets that come with scikit-learn, or
with packages that the benchmark installs, are tried.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.drift import history, known, references, speed, streams, whole
from mlops.contract import Drift


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="benchmarks.drift", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["speed", "known", "whole", "beside", "history", "references"])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--windows", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=900)
    parser.add_argument("--only", default="", help="names of peers, separated by commas")
    parser.add_argument("--case", action="append", default=[], choices=list(known.CASES))
    parser.add_argument("--data", type=Path)
    parser.add_argument("--plot", type=Path, help="SVG file to write of the streams with a date")
    options = parser.parse_args(arguments)
    names = {n.strip() for n in options.only.split(",") if n.strip()}
    if options.what == "speed":
        lines = speed.report(speed.measure(options.rows, options.rounds, options.seconds, names), options.rows)
        if not names:
            by_rows = ", ".join(f"{rows} million rows: {mb:.0f} MB" for rows, mb in speed.memory().items())
            second = speed.traffic()
            lines += [f"memory: {by_rows}", f"captured traffic, a million rows: {second:.1f} s of a processor, "
                      f"{speed.cents(second):.3f} US cents"]  # fmt: skip
    elif options.what == "known":
        windows = options.windows or 2_000
        lines = [*known.false_alarms(windows), "", *known.power(max(50, windows // 10))]
    elif options.what == "whole":
        windows = options.windows or 2_000
        few = max(whole.RUN, windows // 5)
        lines = [*whole.quiet(windows), "", *whole.false_discoveries(windows), "", *whole.power(few)]
    elif options.what == "beside":
        lines = known.beside(options.windows or 200, 500, options.seconds, names, options.case)
    elif options.what == "references":
        references.write()
        lines = [f"wrote {references.FILE.relative_to(references.ROOT)}"]
    else:
        answers = streams.answers(options.data)
        if options.data and (options.data / "weather.csv").exists():
            answers = history.weather(options.data / "weather.csv") + answers
        if options.plot:
            dated = [a for a in answers if a.dated]
            streams.plot(dated, Drift().feature_share, options.plot)
        if options.data and (options.data / "german_credit.csv").exists():
            answers += history.credit(options.data / "german_credit.csv")
        lines = [*history.HEADER, *(a.row() for a in [*answers, *history.bundled()])]
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
