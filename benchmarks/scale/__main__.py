"""The entry point of `python -m benchmarks.scale`."""

from benchmarks.common.environment import limit_numpy_threads, silence_libraries

if __name__ == "__main__":
    silence_libraries()
    limit_numpy_threads()
    # Imported afterwards, because NumPy reads the variable when it is imported.
    from benchmarks.scale.benchmark import main

    main()
