"""What each driver was expected to do, and was seen to do, side by side."""

from demo.console import Console
from demo.play import Played


def table(console: Console, results: Played) -> None:
    """A row a driver, a column a claim: ✓ where it held, ✗ where not; a driver that this kernel lacks says so."""
    claims = list(dict.fromkeys(r.step.claim for _, r in results if r is not None and r.step.claim))
    titles = list(dict.fromkeys(section.title for section, _ in results if section.number))
    width = max((len(title) for title in titles), default=0)
    console.heading("Expected, and seen")
    for number, claim in enumerate(claims, 1):
        console.line(f"  {number:>2}  {claim}")
    console.line("\n  " + " " * width + "".join(f" {number:>3}" for number in range(1, len(claims) + 1)))
    for title in titles:
        own = [result for section, result in results if section.title == title and result is not None]
        if own[0].unsupported:
            console.line(f"  {title:<{width}}   not here: {own[0].seen.splitlines()[0]}")
            continue
        held = {result.step.claim: result.held for result in own if result.step.claim}
        marks = (console.colour("✓" if held[claim] else "✗", held[claim]) if claim in held else "·" for claim in claims)
        console.line(f"  {title:<{width}}" + "".join(f"   {mark}" for mark in marks))
