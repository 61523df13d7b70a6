"""Where the program begins, as `netecho` and as `python -m netecho`."""

import sys

from netecho.errors import ExitStatus


def main() -> None:
    """Load the command line, which takes a moment, and run it."""
    try:
        from netecho import cli
    except KeyboardInterrupt:
        sys.exit(ExitStatus.INTERRUPTED)
    cli.main()


if __name__ == "__main__":
    main()
