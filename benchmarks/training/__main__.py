"""The entry point of `python -m benchmarks.training`."""

from benchmarks.common.environment import limit_numpy_threads, silence_libraries

if __name__ == "__main__":
    limit_numpy_threads()
    silence_libraries()
    # Imported afterwards, because the libraries read the variables when they are imported.
    from benchmarks.training.benchmark import main

    main()
