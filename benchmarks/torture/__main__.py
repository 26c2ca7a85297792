"""The entry point of `python -m benchmarks.torture`."""

from benchmarks.torture.benchmark import main

if __name__ == "__main__":
    main()
