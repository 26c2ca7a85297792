"""The entry point of `python -m benchmarks.peer`."""

from benchmarks.common.environment import limit_numpy_threads

if __name__ == "__main__":
    limit_numpy_threads()
    # Imported afterwards, because NumPy reads the variable when it is imported.
    from benchmarks.peer.benchmark import main

    main()
