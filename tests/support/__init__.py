"""What tests of several folders share, and the programs that tests start.

`pythonpath` in `pyproject.toml` makes it importable: `from support.waiting import until`. A fixture that every test may
ask for is in `tests/conftest.py`; one of a single folder is in the folder's `conftest.py`.
"""
