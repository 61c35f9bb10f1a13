"""Parts of the storage conformance suite, and a storage with faults. `testing.storage_conformance` is the suite."""
