"""`python -m netecho` is the same program as `netecho`."""

from netecho.cli import main

if __name__ == "__main__":
    main()
