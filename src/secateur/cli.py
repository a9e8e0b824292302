"""The command `secateur`: parse, call, print. No logic; torch is imported only by commands that need it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from secateur import __version__
from secateur.errors import InputError, SecateurError

if TYPE_CHECKING:
    from secateur.sparse import Crossovers
    from secateur.studies.run import Prepared
    from secateur.studies.store import Store


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit codes: 0 done, 1 a run failed, 2 bad input, 130 interrupted."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.call(options) or 0)
    except InputError as error:
        print(f"secateur: {error}", file=sys.stderr)
        return 2
    except SecateurError as error:
        print(f"secateur: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("secateur: interrupted. What was finished is kept; the same command goes on.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="secateur", description=__doc__ and "Prune neural language models, find their winning tickets.")
    parser.add_argument("--version", action="version", version=f"secateur {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run recipes; what is finished is never repeated")
    run.add_argument("recipes", nargs="+", metavar="RECIPE", help="a recipe's name (see 'secateur list recipes') or file")
    run.add_argument("--preset", help="smoke, quick or paper")
    run.add_argument("--replicates", type=int, metavar="N")
    run.add_argument("--arms", type=_names, metavar="A,B", help="only these arms, and those that their masks come from")
    run.add_argument("--set", action="append", default=[], dest="settings", metavar="a.b=VALUE", help="change one entry of the recipe")
    run.add_argument("--data-dir", metavar="DIR", help="where raw data lie")
    run.add_argument("--executor", default="local", choices=["local", "inline"])
    run.add_argument("--jobs", type=int, metavar="N", help="worker processes (default: cores / threads)")
    run.add_argument("--threads", type=int, default=1, metavar="N", help="threads of each worker (default: 1)")
    run.add_argument("--execution", default="auto", choices=["auto", "dense", "sparse"], help="how masked layers run (default: auto)")
    run.add_argument("--crossovers", metavar="FILE", help="the table that 'auto' reads, from 'secateur bench crossovers --json'")
    run.add_argument("--log", choices=["tensorboard", "mlflow"], help="write the results for this tracker too")
    run.add_argument("--dry-run", action="store_true", help="print the run graph with an estimate, and run nothing")
    run.add_argument("--verbose", action="store_true", help="a line on standard error for each node that ends")
    _store_option(run)
    _json_option(run)
    run.set_defaults(call=_run)

    listing = commands.add_parser("list", help="what there is: recipes, models, data, scores, …")
    listing.add_argument("what", nargs="?", default="recipes")
    _json_option(listing)
    listing.set_defaults(call=_list)

    status = commands.add_parser("status", help="what of a study is done, running, left, failed")
    status.add_argument("study", nargs="?", metavar="STUDY")
    _store_option(status)
    _json_option(status)
    status.set_defaults(call=_status)

    report = commands.add_parser("report", help="tables, figures and report.html of studies")
    report.add_argument("studies", nargs="+", metavar="STUDY")
    report.add_argument("--out", metavar="DIR", help="where to write (default: reports/STUDY)")
    report.add_argument("--open", action="store_true", help="open the page in a browser")
    _store_option(report)
    _json_option(report)
    report.set_defaults(call=_report)

    watch = commands.add_parser("watch", help="the report as a live page on this machine, while the study runs")
    watch.add_argument("study", metavar="STUDY")
    watch.add_argument("--port", type=int, default=0, metavar="N", help="default: a free one")
    _store_option(watch)
    watch.set_defaults(call=_watch)

    data = commands.add_parser("data", help="the data sets: list, fetch, verify, path")
    data.add_argument("action", choices=["list", "fetch", "verify", "path"])
    data.add_argument("name", nargs="?", metavar="NAME")
    data.add_argument("--data-dir", metavar="DIR", help="where raw data lie")
    _json_option(data)
    data.set_defaults(call=_data)

    bench = commands.add_parser("bench", help="time dense and sparse side by side on this machine")
    bench.add_argument("what", choices=["kernels", "layers", "training", "inference", "crossovers"])
    bench.add_argument("--densities", type=float, nargs="+", metavar="D")
    bench.add_argument("--rounds", type=int, metavar="N", help="default: 40; for crossovers 5")
    bench.add_argument("--threads", type=int, default=1, metavar="N")
    bench.add_argument("--figures", metavar="DIR", help="write speed-up against density there, as SVG, PDF and PNG")
    _json_option(bench)
    bench.set_defaults(call=_bench)

    store = commands.add_parser("store", help="check every artefact; remove what no study needs")
    store.add_argument("action", choices=["verify", "gc"])
    store.add_argument("--dry-run", action="store_true", help="say what would be removed, and remove nothing")
    _store_option(store)
    _json_option(store)
    store.set_defaults(call=_store)
    return parser


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _store_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", default="runs", metavar="DIR", help="the store (default: runs)")


def _json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output, nothing else there")


def _print_json(document: Any) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False))


def _run(options: argparse.Namespace) -> int:
    from secateur.reports.progress import Watch
    from secateur.reports.terminal import summary
    from secateur.studies import run as studies

    crossovers = _crossovers(options.crossovers) if options.crossovers else None
    documents = []
    failed = False
    for recipe in options.recipes:
        prepared = studies.prepare(
            recipe,
            options.preset,
            options.store,
            options.settings,
            options.replicates,
            options.data_dir,
            options.threads,
            options.execution,
            options.arms,
            crossovers,
        )
        if options.dry_run:
            documents.append(_dry_run(prepared, options))
            continue
        with Watch(sys.stderr, studies.labels(prepared.plan), options.verbose) as watch:
            outcome = studies.perform(prepared, options.executor, options.jobs, watch)
        if options.log:
            _log(options.log, prepared)
        for key, error in outcome.errors.items():
            failed = True
            print(f"secateur: {studies.labels(prepared.plan).get(key, key)} failed:\n{error}", file=sys.stderr)
        documents.append({"study": prepared.study.name, "failed": len(outcome.errors), "results": prepared.study.frame().to_dicts()})
        if not options.json and not outcome.failed:
            _rich_print(summary(prepared.study))
    if options.json:
        _print_json(documents)
    return 1 if failed else 0


def _crossovers(path: str) -> Crossovers:
    from secateur.sparse import Crossovers

    try:
        return Crossovers.load(path)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} holds no table of crossovers as 'secateur bench crossovers --json' prints it: {error}") from None


def _log(tracker: Literal["tensorboard", "mlflow"], prepared: Prepared) -> None:
    from secateur.integrations.tracking import study_log

    log = study_log(tracker, prepared.store.root / "logs" / tracker)
    log.update(prepared.study)
    log.close()


def _dry_run(prepared: Prepared, options: argparse.Namespace) -> dict[str, Any]:
    from secateur.reports.estimates import estimate, graph_table

    expected = estimate(prepared, options.jobs)
    if not options.json:
        _rich_print(graph_table(prepared, expected))
    return {"study": prepared.study.name, **expected}


def _rich_print(*renderables: Any) -> None:
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 120).print(*renderables)


def _list(options: argparse.Namespace) -> None:
    from secateur.reports.listing import listing, shown

    rows = listing(options.what)
    if options.json:
        _print_json(rows)
        return
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in shown(rows[0]) if rows else ["name"]:
        table.add_column(column)
    for row in rows:
        table.add_row(*shown(row).values())
    _rich_print(table)


def _open_store(path: str) -> Store:
    from pathlib import Path

    from secateur.studies.store import Store

    if not (Path(path) / "store.json").is_file():
        raise InputError(f"there is no store in {path!r}; name one with --store, or run a study first")
    return Store(Path(path))


def _status(options: argparse.Namespace) -> None:
    from secateur.reports.listing import status_rows

    rows = status_rows(_open_store(options.store), options.study)
    if options.json:
        _print_json(rows)
        return
    for row in rows:
        failures = row.pop("failures")
        print(", ".join(f"{key} {value}" for key, value in row.items()))
        for failure in failures:
            print(f"  failed: {failure['what']} (node {failure['key'][:12]}): {failure['error']}")


def _report(options: argparse.Namespace) -> None:
    from pathlib import Path

    from secateur.reports.opened import OpenedStudy
    from secateur.reports.report import write_report
    from secateur.studies.results import Study

    store = _open_store(options.store)
    studies = [OpenedStudy(Study.latest(store, name)) for name in options.studies]
    out = Path(options.out) if options.out else Path("reports") / "+".join(study.name for study in studies)
    page = write_report(studies, out)
    if options.json:
        _print_json({"page": str(page), "folder": str(out)})
    else:
        print(f"The report is {page}")
    if options.open:
        import webbrowser

        webbrowser.open(page.resolve().as_uri())


def _watch(options: argparse.Namespace) -> None:
    from secateur.reports.live import LivePage
    from secateur.reports.opened import OpenedStudy
    from secateur.studies.results import Study

    store = _open_store(options.store)
    Study.latest(store, options.study)
    live = LivePage(lambda: OpenedStudy(Study.latest(store, options.study)), port=options.port)
    print(f"{live.url} (Ctrl-C ends it)", file=sys.stderr)
    live.serve_forever()


def _data(options: argparse.Namespace) -> int:
    from secateur.reports.listing import data_rows

    rows = data_rows(options.action, options.name, options.data_dir)
    if options.json:
        _print_json(rows)
        rows_shown: list[dict[str, Any]] = []
    else:
        rows_shown = rows
    for row in rows_shown:
        print("  ".join(str(value) for value in row.values()))
    return 2 if options.action == "verify" and any(row["problem"] for row in rows) else 0


def _bench(options: argparse.Namespace) -> None:
    from secateur.reports.bench_figures import write_bench_figures
    from secateur.sparse.bench import DENSITIES, bench, environment

    if options.what == "crossovers":
        _bench_crossovers(options)
        return
    timings = []
    for timing in bench(options.what, densities=options.densities or DENSITIES, rounds=options.rounds or 40, threads=options.threads):
        timings.append(timing)
        if not options.json:
            spread = f"{timing.low * 1e6:9.0f} – {timing.high * 1e6:<9.0f}"
            time = f"{timing.seconds * 1e6:9.0f} us  {spread} x{timing.speedup:<6.2f}"
            cores = f"  {timing.round_trip_ns:.0f} ns from core to core and back" if timing.round_trip_ns else ""
            print(f"{timing.case:44} {timing.density:5.2f}  {timing.way:24} {time}{cores}", flush=True)
    if options.json:
        _print_json({"environment": environment(), "rows": [timing.row() for timing in timings]})
    if options.figures:
        write_bench_figures(timings, options.figures)


def _bench_crossovers(options: argparse.Namespace) -> None:
    import torch

    from secateur.models.word_conv import WordConv
    from secateur.sparse.bench import measure_crossovers

    torch.set_num_threads(options.threads)
    table = measure_crossovers(rounds=options.rounds or 5, convolution=WordConv)
    if options.json:
        _print_json(table.described())
        return
    for entry in table.entries:
        print(f"{entry.kind:10} {entry.rows:6} x {entry.columns:<6} batch {entry.batch:4}   sparse below density {entry.density:.3f}")


def _store(options: argparse.Namespace) -> int:
    store = _open_store(options.store)
    if options.action == "verify":
        faults = store.verify()
        document: dict[str, Any] = {"faults": faults}
        text = "\n".join(faults) or "Every artefact is what its manifest says."
    else:
        keys = store.unneeded()
        freed = 0 if options.dry_run else sum(store.delete(key) for key in keys)
        document = {"unneeded": keys, "freed": freed}
        text = f"{len(keys)} nodes are needed by no study" + ("" if options.dry_run else f"; {freed / 1e6:.1f} MB freed")
    if options.json:
        _print_json(document)
    else:
        print(text)
    return 1 if document.get("faults") else 0


if __name__ == "__main__":
    sys.exit(main())
