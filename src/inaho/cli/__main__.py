"""Makes `python -m inaho.cli` the same as `inaho`, independent of where scripts are installed."""

from __future__ import annotations

from inaho.cli import main

if __name__ == "__main__":
    main()
