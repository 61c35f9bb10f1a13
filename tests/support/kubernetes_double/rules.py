"""Rules of the API without a state: errors as `Status` objects, selectors, merge patches, representations."""

from __future__ import annotations

import re
from typing import Any

Object = dict[str, Any]

ANNOTATION_BYTES_MAX = 262_144
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
_OPERATOR = re.compile(r"==|!=|=")


class ApiError(Exception):
    """An answer that is a `Status` object."""

    def __init__(
        self, code: int, reason: str, message: str, details: Object | None = None, retry_after_s: int = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after_s = retry_after_s
        self.token = ""
        self._reason = reason
        self._message = message
        self._details = details or {}

    def status(self) -> Object:
        """The body of the answer."""
        details = {**self._details, **({"retryAfterSeconds": self.retry_after_s} if self.retry_after_s else {})}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self.token} if self.token else {},
            "status": "Failure",
            "message": self._message,
            "reason": self._reason,
            **({"details": details} if details else {}),
            "code": self.code,
        }


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def not_found(resource: str, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource} "{name}" not found', {"name": name, "kind": resource})


def already_exists(resource: str, name: str) -> ApiError:
    return ApiError(409, "AlreadyExists", f'{resource} "{name}" already exists', {"name": name, "kind": resource})


def conflict(resource: str, name: str) -> ApiError:
    return ApiError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource} "{name}": the object has been modified; please apply your '
        "changes to the latest version and try again",
        {"name": name, "kind": resource},
    )


def invalid(resource: str, name: str, field: str, problem: str) -> ApiError:
    message = f'{resource} "{name}" is invalid: {field}: {problem}'
    return ApiError(422, "Invalid", message, {"name": name, "kind": resource, "causes": [{"field": field}]})


def forbidden(user: str, verb: str, resource: str, group: str, namespace: str, name: str = "") -> ApiError:
    named = f' "{name}"' if name else ""
    return ApiError(
        403,
        "Forbidden",
        f'{resource}{named} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{group}" in '
        f'the namespace "{namespace}"',
        {**({"name": name} if name else {}), "kind": resource},
    )


def expired_watch() -> ApiError:
    return ApiError(410, "Expired", "The resourceVersion for the provided watch is too old.")


def expired_token() -> ApiError:
    return ApiError(
        410,
        "Expired",
        "The provided continue parameter is too old to display a consistent list result. You must start a new list "
        "without the continue parameter.",
    )


def too_large(wanted: int, current: int) -> ApiError:
    message = f"Timeout: Too large resource version: {wanted}, current: {current}"
    return ApiError(504, "Timeout", message, {"causes": [{"reason": "ResourceVersionTooLarge"}]}, retry_after_s=1)


def check_name(resource: str, name: str) -> None:
    """Refuses what is no DNS subdomain."""
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise invalid(resource, name, "metadata.name", "a lowercase RFC 1123 subdomain is required")


def check_annotations(resource: str, found: Object) -> None:
    """Refuses annotations that are no texts or too long together."""
    annotations = found["metadata"].get("annotations") or {}
    if not all(isinstance(value, str) for value in annotations.values()):
        raise bad_request("json: cannot unmarshal into Go struct field ObjectMeta.metadata.annotations of type string")
    if sum(len(key) + len(value.encode()) for key, value in annotations.items()) > ANNOTATION_BYTES_MAX:
        problem = f"Too long: must have at most {ANNOTATION_BYTES_MAX} bytes"
        raise invalid(resource, found["metadata"]["name"], "metadata.annotations", problem)


class Selector:
    """`labelSelector` (equality, `key`, `!key`) and `fieldSelector` of a request."""

    def __init__(self, labels: str, fields: str) -> None:
        self._labels = [_requirement(part) for part in labels.split(",") if part]
        self._fields = []
        for part in fields.split(","):
            if part:
                path, equal, value = _parted(part)
                if path not in ("metadata.name", "metadata.namespace", "status.phase", "spec.nodeName"):
                    raise bad_request(f'field label not supported: "{path}"')
                self._fields.append((path, equal, value))

    def matches(self, found: Object) -> bool:
        labels = found["metadata"].get("labels") or {}
        return all(_holds(labels, each) for each in self._labels) and all(
            (_field(found, path) == value) is equal for path, equal, value in self._fields
        )


def _requirement(part: str) -> tuple[str, bool, str | None]:
    part = part.strip()
    key, equal, value = (
        _parted(part) if _OPERATOR.search(part) else (part.removeprefix("!"), not part.startswith("!"), None)
    )
    if not _KEY.fullmatch(key) or not _VALUE.fullmatch(value or ""):
        raise bad_request(f"unable to parse requirement: {part!r}")
    return key, equal, value


def _parted(part: str) -> tuple[str, bool, str]:
    found = _OPERATOR.search(part)
    if found is None:
        raise bad_request(f"invalid selector: {part!r}; can't understand {part!r}")
    return part[: found.start()].strip(), found.group() != "!=", part[found.end() :].strip()


def _holds(labels: Object, requirement: tuple[str, bool, str | None]) -> bool:
    key, equal, value = requirement
    if value is None:
        return (key in labels) is equal
    return (labels.get(key) == value) is equal


def _field(found: Object, path: str) -> str:
    value: Any = found
    for word in path.split("."):
        value = value.get(word, {}) if isinstance(value, dict) else {}
    return value if isinstance(value, str) else ""


def merged(target: Any, patch: Any) -> Any:
    """The target after a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def represented(found: Object, accept: str) -> Object:
    """The object as the header `Accept` wants it: whole, or its metadata only."""
    if "as=PartialObjectMetadata" not in accept:
        return found
    if found["kind"].endswith("List"):
        items = [represented(item, accept) for item in found["items"]]
        kind = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        return {**kind, "metadata": found["metadata"], "items": items}
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": found["metadata"]}
