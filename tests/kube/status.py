"""Status objects, in the words of the real API server."""


class ApiError(Exception):
    def __init__(self, code, reason, message, details=None, headers=None):
        super().__init__(message)
        self.code, self.headers = code, headers or {}
        self.status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message}
        if reason:
            self.status["reason"] = reason
        if details is not None:
            self.status["details"] = details
        self.status["code"] = code


def not_found(resource, name):
    return ApiError(404, "NotFound", f'{resource.qualified} "{name}" not found', {"name": name, **resource.details()})


def no_such_path():
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource, name):
    return ApiError(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists', {"name": name, **resource.details()})


def conflict(resource, name, why="the object has been modified; please apply your changes to the latest version and try again"):
    return ApiError(409, "Conflict", f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}',
                    {"name": name, **resource.details()})


def forbidden(user, verb, resource, namespace="", name="", why=""):
    where = f' in the namespace "{namespace}"' if namespace else (" at the cluster scope" if resource else "")
    what = f'{resource.qualified}{f" {chr(34)}{name}{chr(34)}" if name else ""} is forbidden: ' if resource else ""
    text = f'{what}User "{user}" cannot {verb} resource "{resource.name}" in API group "{resource.group}"{where}'
    details = {"name": name, **resource.details()} if name else resource.details()
    return ApiError(403, "Forbidden", text + (f": {why}" if why else ""), details)


def node_restricted(resource, name, why):
    """What the NodeRestriction admission plugin says."""
    return ApiError(403, "Forbidden", f'{resource.qualified} "{name}" is forbidden: {why}', {"name": name, **resource.details()})


def namespace_ends(resource, namespace, name):
    """What the NamespaceLifecycle admission plugin says."""
    return ApiError(403, "Forbidden", f'{resource.qualified} "{name}" is forbidden: unable to create new content in namespace {namespace} because '
                    "it is being terminated", {"name": name, **resource.details(), "causes": [
                        {"reason": "NamespaceTerminating", "message": f"namespace {namespace} is being terminated", "field": "metadata.namespace"}]})


def unauthorized():
    return ApiError(401, "Unauthorized", "Unauthorized")


def bad_request(message):
    return ApiError(400, "BadRequest", message)


def invalid(kind, name, message, group=""):
    """`message`: "FIELD: WHY"."""
    field, _, why = message.partition(": ")
    reason = {"Required value": "FieldValueRequired", "Duplicate value": "FieldValueDuplicate", "Unsupported value": "FieldValueNotSupported",
              "Forbidden": "FieldValueForbidden"}.get(why.partition(":")[0], "FieldValueInvalid")
    details = {**({"name": name} if name else {}), **({"group": group} if group else {}), "kind": kind,
               "causes": [{"field": field, "message": why, "reason": reason}]}
    return ApiError(422, "Invalid", f'{kind}{"." + group if group else ""} "{name}" is invalid: {message}', details)


def no_json_patch():
    """What a JSON patch that does not apply gets: not a word of why."""
    return ApiError(422, "Invalid", "the server rejected our request due to an error in our request", {})


def expired(version, current):
    return ApiError(410, "Expired", f"too old resource version: {version} ({current})")


def budget(details_message, retry_after=0):
    """An eviction that a PodDisruptionBudget refuses: the registry's createTooManyRequestsError()."""
    details = {"causes": [{"reason": "DisruptionBudget", "message": details_message}]}
    headers = {}
    if retry_after:
        details["retryAfterSeconds"] = retry_after
        headers["Retry-After"] = str(retry_after)
    return ApiError(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.", details, headers)


def too_many_requests(seconds=1):
    return ApiError(429, "TooManyRequests", "Too many requests, please try again later.", {"retryAfterSeconds": seconds},
                    {"Retry-After": str(seconds)})


def internal(message):
    return ApiError(500, "InternalError", f"Internal error occurred: {message}", {"causes": [{"message": message}]})
