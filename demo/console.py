"""What the reader sees: headings, steps with a mark, and a sign of life while something takes long."""

import contextlib
import shutil
import sys
import threading
import time
from collections.abc import Iterator


class Console:
    """Prints to one stream. While `working` is open, the elapsed time moves on a terminal, or shows in a line now and
    then where the output is a file."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self._tty = sys.stdout.isatty()
        self._lock = threading.Lock()
        self._live = False

    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    def line(self, text: str = "") -> None:
        """One line, printed at once."""
        with self._lock:
            self._wipe()
            print(text, flush=True)

    def heading(self, text: str) -> None:
        """Title of a part, with the time since the start."""
        self.line()
        self.line(self.bold(f"── {text} ") + f"({self.elapsed():.1f} s)")

    def bold(self, text: str) -> str:
        """The text in bold on a terminal, as it is elsewhere."""
        return f"\033[1m{text}\033[0m" if self._tty else text

    def colour(self, text: str, good: bool) -> str:
        """The text in green or red on a terminal, as it is elsewhere."""
        return f"\033[{32 if good else 31}m{text}\033[0m" if self._tty else text

    @contextlib.contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Shows that `what` goes on: at once on a terminal, after five seconds (and each five more) elsewhere."""
        done = threading.Event()
        began = time.monotonic()

        def tell() -> None:
            while not done.wait(0.2 if self._tty else 5.0):
                text = f"  … {what} ({time.monotonic() - began:.0f} s)"
                with self._lock:
                    if self._tty:
                        width = shutil.get_terminal_size().columns - 1
                        print("\r\033[K" + text[:width], end="", flush=True)
                        self._live = True
                    else:
                        print(text, flush=True)

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        try:
            yield
        finally:
            done.set()
            teller.join()
            with self._lock:
                self._wipe()

    def _wipe(self) -> None:
        if self._live:
            print("\r\033[K", end="", flush=True)
            self._live = False
