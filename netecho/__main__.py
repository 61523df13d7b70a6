"""Where the program begins, as `netecho` and as `python -m netecho`."""

import gc
import signal
import sys

from netecho.errors import ExitStatus


def main() -> None:
    """Load the program, which takes a moment, and run it."""
    # Nothing of what is loaded is garbage, and to look for some again and again takes a tenth of the
    # processor time of a start. `services.running` turns the garbage collector on when all is loaded.
    gc.disable()
    try:
        from netecho import program
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to interrupt but the exit itself
        sys.exit(ExitStatus.INTERRUPTED)
    program.main()


if __name__ == "__main__":
    main()
