"""``python -m benchmarks`` measures the embedded system."""

from benchmarks.embedded import main

if __name__ == "__main__":
    main()
