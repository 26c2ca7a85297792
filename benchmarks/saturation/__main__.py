"""The entry point of `python -m benchmarks.saturation`."""

from benchmarks.common.environment import limit_numpy_threads

if __name__ == "__main__":
    limit_numpy_threads()
    # Imported afterwards, because NumPy reads the variable when it is imported.
    from benchmarks.saturation.benchmark import main

    main()
