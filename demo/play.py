"""How a demo goes: its steps are run and told section by section, and nothing of it is left at the end."""

from collections.abc import Callable, Sequence
from pathlib import Path

from demo import images
from demo.alone import let_nothing_interrupt
from demo.console import Console
from demo.stage import Stage
from demo.step import Result, Section, Step, run_step
from demo.sweep import mounts_below, sweep

FOLDER = Path("/var/lib/linkspan/demo")
Played = Sequence[tuple[Section, Result | None]]  # None: a step that was not run, as a vital one before it did not hold


def images_told(console: Console) -> Path:
    """The folder with the images, got ready; the reader is told where they come from."""
    console.line(f"  images   {images.source()}")
    console.heading("Images: got ready, or taken from the last run")
    cache = images.ready(console)
    console.line(f"  in {cache}")
    return cache


def perform(
    console: Console,
    make: Callable[[Path], Stage],
    start: Callable[[Stage], None],
    sections: Sequence[Section],
    *,
    last: Step,
    keep: bool,
    sum_up: Callable[[Console, Played], None] = lambda console, results: None,
) -> int:
    """Makes the stage in the run's folder, starts it, runs the sections, sums up, clears away. Status 0 if all held.

    `last` is the step that ends each section but the one with the number 0: images are what the others stand on.
    `sum_up` may have more to tell of the results.
    """
    folder = FOLDER / "run"
    sweep(folder)
    results: list[tuple[Section, Result | None]] = []
    stage = None
    failed = True
    try:
        with console.working("making the test hosts"):
            folder.mkdir()
            stage = make(folder)
            stage.prepare()
        with console.working("starting what runs in them"):
            start(stage)
        for section in sections:
            results += [(section, result) for result in _run_section(stage, section, last)]
        failed = not all(_well(result) for _, result in results)
    finally:
        let_nothing_interrupt()
        if stage is not None:
            stage.end()
        if keep:
            console.line(f"\nKept: {folder}")
        elif stage is not None:
            _keep_logs(stage, failed, console)
        left = [] if keep else sweep(folder)
        left += [] if keep else mounts_below(folder)
        if left:
            console.line(f"Could not be removed: {', '.join(left)}")
            failed = True
    sum_up(console, results)
    _sum_up(console, sections, results)
    return 1 if failed else 0


def _well(result: Result | None) -> bool:
    return result is not None and (result.held or result.unsupported)


def _keep_logs(stage: Stage, failed: bool, console: Console) -> None:
    """What the daemons said stays after a run that failed, until the next one."""
    for name, seat in stage.seats.items():
        kept = FOLDER / f"daemon-{name}.log"
        if failed and seat.log.exists():
            seat.log.replace(kept)
            console.line(f"\nThe daemon's log: {kept}")
        else:
            kept.unlink(missing_ok=True)


def _run_section(stage: Stage, section: Section, last: Step) -> list[Result | None]:
    """Results in order; None for a step that was not run, because a vital one before it did not hold."""
    console = stage.console
    console.heading(f"{section.number}. {section.title}")
    results: list[Result | None] = []
    stage.clear()
    if section.before is not None:
        section.before(stage)
    lost = False
    for step in (*section.steps, *([last] if section.number else [])):
        if lost:
            results.append(None)
            continue
        command = stage.typed(step.command)
        place = step.where or stage.first
        with console.working(f"{place}$ {command}"):
            result = run_step(stage, step)
        console.line(f"{place}$ {console.bold(command)}")
        console.line(_indented("expected", step.expect))
        console.line(_indented("seen", result.seen))
        mark = console.colour("✓", True) if result.held else console.colour("✗ does not hold", False)
        if result.unsupported:
            console.line("  ∅ not here: the rest of the section is left out")
            return [result]
        console.line(f"  {mark} ({result.seconds:.1f} s)")
        results.append(result)
        lost = step.vital and not result.held
    if lost:
        console.line(console.colour(f"  ✗ {results.count(None)} steps that need this one were not run", False))
    if section.after is not None:
        section.after(stage)
    return results


def _indented(title: str, text: str) -> str:
    first, *more = text.splitlines() or [""]
    return "\n".join([f"  {title:<9}{first}", *(" " * 11 + line for line in more)])


def _sum_up(console: Console, sections: Sequence[Section], results: Played) -> None:
    console.heading("Summary")
    for section in sections:
        own = [result for one, result in results if one is section]
        if not own:
            continue
        if own[0] is not None and own[0].unsupported:
            console.line(f"  ∅ {section.number}. {section.title:<34} left out: {own[0].seen}")
            continue
        held = sum(result is not None and result.held for result in own)
        mark = console.colour("✓", True) if held == len(own) else console.colour("✗", False)
        seconds = sum(result.seconds for result in own if result is not None)
        console.line(
            f"  {mark} {section.number}. {section.title:<34} {held:>3} of {len(own):>3} steps {seconds:6.1f} s"
        )
        for result in own:
            if result is not None and not result.held:
                console.line(f"      ✗ {result.step.command}: {result.step.expect}")
    results = [(section, result) for section, result in results if result is None or not result.unsupported]
    held = sum(result is not None and result.held for _, result in results)
    console.line(f"\n  {held} of {len(results)} steps held, in {console.elapsed():.0f} s")
