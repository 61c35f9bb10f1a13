"""One list says which refusals of a handshake are final."""

from inaho import errors
from inaho.errors.refusals import FINAL_CODES, FINAL_REFUSALS, SAME_CLUSTER_CODES


def test_a_code_of_the_list_is_final_wherever_the_error_is_made():
    for code in FINAL_CODES:
        assert isinstance(errors.error_from_code(code, "why"), FINAL_REFUSALS)
    assert (*SAME_CLUSTER_CODES, "wrong_cluster", "invalid_config") == FINAL_CODES


def test_what_may_change_by_itself_is_not_final():
    for kind in (
        errors.Overloaded,
        errors.ShuttingDown,
        errors.Quarantined,
        errors.Unreachable,
        errors.WrongIncarnation,
    ):
        assert not issubclass(kind, FINAL_REFUSALS)
