"""Flags as Docker's command takes them.

`--name value`, `--name=value`, `-n value`, `-nvalue`, `-n=value`; several short switches in one word (`-it`); a bool
flag takes its value only after `=`. A verb that runs another program (run, exec) ends its own flags at the first
argument. argparse differs in most of this, and takes longer to import than most commands run. (So do dataclasses,
which is why the values here are named tuples.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from linkspan.cli.failure import UsageError
from linkspan.errors import did_you_mean

if TYPE_CHECKING:
    from linkspan.cli.client import Client

FLAG_STATUS = 125  # of a command line that cannot be parsed, as Docker's
HELP_WIDTH = 100


class Flag(NamedTuple):
    """`value` is the word for the flag's value in help texts; "" makes it a switch. `check` raises ValueError."""

    name: str
    short: str = ""
    value: str = ""
    help: str = ""
    default: str = ""
    check: Callable[[str], object] | None = None
    optional: str = ""  # the value that is meant where the flag is given bare

    @property
    def label(self) -> str:
        return f"-{self.short}, --{self.name}" if self.short else f"--{self.name}"


def switch(name: str, short: str, help: str, *, default: bool = False) -> Flag:
    """A flag that is on or off."""
    return Flag(name, short, "", help, "true" if default else "false")


class Parsed(NamedTuple):
    """A command line taken apart: values by flag name, in the order given, and the arguments."""

    flags: dict[str, Flag]
    values: dict[str, list[str]]
    arguments: list[str]

    def given(self, name: str) -> bool:
        return name in self.values

    def text(self, name: str) -> str:
        """The last value given, or the default."""
        return self.values[name][-1] if name in self.values else self.flags[name].default

    def list(self, name: str) -> list[str]:
        return self.values.get(name, [])

    def on(self, name: str) -> bool:
        return is_true(self.text(name))

    def number(self, name: str) -> int:
        """The value of a flag whose `check` is `integer`; 0 without one."""
        return integer(self.text(name) or "0")


class Invocation(NamedTuple):
    """What a verb's function gets: its command line, and the way to the daemon."""

    line: Parsed
    client: Client
    path: str  # "container ls": the words that were typed

    @property
    def arguments(self) -> list[str]:
        return self.line.arguments


class Verb(NamedTuple):
    """A verb: its usage (without the command's name), a sentence, its flags, the number of arguments, its function."""

    usage: str
    summary: str
    run: Callable[[Invocation], int]
    flags: tuple[Flag, ...] = ()
    least: int = 0
    most: int | None = None
    runs_program: bool = False  # flags end at the first argument
    aliases: Mapping[str, str] = MappingProxyType({})  # further names of flags
    detail: str = ""  # examples and remarks for the help text
    raw: bool = False  # its function takes the words apart itself, --help too


def is_true(text: str) -> bool:
    """Go's strconv.ParseBool. Raises ValueError."""
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise ValueError(f'strconv.ParseBool: parsing "{text}": invalid syntax')


def integer(text: str) -> int:
    """Go's strconv.ParseInt with base 0, as flags use it. Raises ValueError."""
    try:
        return int(text, 0)
    except ValueError:
        raise ValueError(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def parse(
    flags: Sequence[Flag],
    words: Sequence[str],
    *,
    runs_program: bool = False,
    aliases: Mapping[str, str] | None = None,
) -> Parsed:
    """Takes the words apart. Raises UsageError in Docker's words; `help` is always a flag, also as -h where no other
    flag has that letter."""
    named = {flag.name: flag for flag in (*flags, switch("help", "", "Print this help"))}
    short = {"h": named["help"], **{flag.short: flag for flag in named.values() if flag.short}}
    parsed = Parsed(named, {}, [])
    known = {**named, **{alias: named[name] for alias, name in (aliases or {}).items()}}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            parsed.arguments.extend(rest)
            break
        if word == "-" or not word.startswith("-"):
            parsed.arguments.append(word)
            if runs_program:
                parsed.arguments.extend(rest)
                break
        elif word.startswith("--"):
            _long(known, parsed, word, rest)
        else:
            _shorts(short, parsed, word, rest)
    return parsed


def _long(known: dict[str, Flag], parsed: Parsed, word: str, rest: list[str]) -> None:
    name, equals, value = word[2:].partition("=")
    flag = known.get(name)
    if flag is None:
        raise UsageError(f"unknown flag: --{name}{did_you_mean(name, known, '--')}", FLAG_STATUS)
    if not equals:
        if not flag.value:
            value = "true"
        elif flag.optional:
            value = flag.optional
        elif rest:
            value = rest.pop(0)
        else:
            raise UsageError(f"flag needs an argument: --{name}", FLAG_STATUS)
    _store(parsed, flag, value)


def _shorts(short: dict[str, Flag], parsed: Parsed, word: str, rest: list[str]) -> None:
    letters = word[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        flag = short.get(letter)
        if flag is None:
            raise UsageError(f"unknown shorthand flag: '{letter}' in {word}", FLAG_STATUS)
        if letters.startswith("="):
            value, letters = letters[1:], ""
        elif not flag.value:
            value = "true"
        elif letters:
            value, letters = letters, ""
        elif rest:
            value = rest.pop(0)
        else:
            raise UsageError(f"flag needs an argument: '{letter}' in {word}", FLAG_STATUS)
        _store(parsed, flag, value)


def _store(parsed: Parsed, flag: Flag, value: str) -> None:
    try:
        if not flag.value:
            is_true(value)
        elif flag.check is not None:
            flag.check(value)
    except ValueError as error:
        raise UsageError(f'invalid argument "{value}" for "{flag.label}" flag: {error}', FLAG_STATUS) from None
    parsed.values.setdefault(flag.name, []).append(value)


def check_count(verb: Verb, path: str, count: int) -> None:
    """Raises UsageError where there are too few or too many arguments."""
    if verb.least <= count and (verb.most is None or count <= verb.most):
        return
    if verb.most == 0:
        raise UsageError(f"'linkspan {path}' accepts no arguments")
    if verb.most == verb.least:
        wanted = f"{verb.least} argument{'' if verb.least == 1 else 's'}"
    elif verb.most is None:
        wanted = f"at least {verb.least} argument{'' if verb.least == 1 else 's'}"
    else:
        wanted = f"at least {verb.least} and at most {verb.most} arguments"
        if verb.least == 0:
            wanted = f"at most {verb.most} argument{'' if verb.most == 1 else 's'}"
    raise UsageError(f"'linkspan {path}' requires {wanted}")


def help_text(verb: Verb, path: str) -> str:
    """Usage, a sentence, and the flags in two columns."""
    lines = [f"Usage:  linkspan {path} {verb.usage}".rstrip(), "", verb.summary]
    if verb.detail:
        lines += ["", verb.detail]
    flags = sorted(verb.flags, key=lambda flag: flag.name)
    if flags:
        import textwrap

        rows = [
            ((f"-{f.short}, " if f.short else "    ") + f"--{f.name} {f.value}".rstrip(), _described(f)) for f in flags
        ]
        width = max(len(left) for left, _ in rows) + 3
        lines += ["", "Options:"]
        for left, right in rows:
            first, *more = textwrap.wrap(right, HELP_WIDTH - width - 2) or [""]
            lines.append(f"  {left:{width}}{first}".rstrip())
            lines.extend(" " * (width + 2) + line for line in more)
    return "\n".join(lines)


def _described(flag: Flag) -> str:
    if flag.default and flag.default not in ("false", "0"):
        return f"{flag.help} (default {flag.default})"
    return flag.help
