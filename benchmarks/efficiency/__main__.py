"""The entry point of `python -m benchmarks.efficiency`."""

from benchmarks.common.environment import limit_numpy_threads

if __name__ == "__main__":
    limit_numpy_threads()
    # Imported afterwards, because NumPy reads the variable when it is imported.
    from benchmarks.efficiency.benchmark import main

    main()
